"""A package that was compiled for another NumPy: the message says what to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ros2_actionnet.system.imports import KEEP_NUMPY_1, import_remedy, pip_install

# As apt's OpenCV and cv_bridge, and NumPy's own check, say it.
MESSAGES = [
    "numpy.core.multiarray failed to import",
    "_ARRAY_API not found",
    "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.2.6 as it may crash.",
    "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_modules_of_numpy_1_beside_numpy_2(message: str) -> None:
    assert f"pip install {KEEP_NUMPY_1}" in import_remedy(ImportError(message), "pip install this", numpy="2.2.6")


def test_the_sign_may_be_in_the_cause() -> None:
    error = ImportError("initialization failed")
    error.__cause__ = AttributeError("_ARRAY_API not found")
    assert f"pip install {KEEP_NUMPY_1}" in import_remedy(error, "pip install this", numpy="2.0.0")


def test_a_module_of_numpy_2_beside_numpy_1() -> None:
    error = ImportError("No module named 'numpy._core'")
    remedy = import_remedy(error, "pip install this", numpy="1.21.5")
    assert remedy == "pip install this (it needs a newer NumPy than 1.21.5)"


def test_what_is_not_there_is_to_be_installed() -> None:
    assert import_remedy(ModuleNotFoundError("No module named 'cv2'"), "pip install this") == "pip install this"


def test_what_is_installed_leaves_apts_modules_their_numpy() -> None:
    assert pip_install("onnx", numpy="1.21.5", is_managed=False) == 'pip install "numpy<2" onnx'
    ubuntu = pip_install("openvino", "onnx", numpy="1.26.4", is_managed=True)
    assert ubuntu == 'PIP_BREAK_SYSTEM_PACKAGES=1 pip install "numpy<2" openvino onnx'
    assert pip_install("onnx", numpy="2.2.6", is_managed=False) == "pip install onnx"
    assert pip_install("onnx", numpy="", is_managed=False) == "pip install onnx"


def test_a_program_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('numpy.core.multiarray failed to import', name='cv2')\n")
    (tmp_path / "numpy-2.9.9.dist-info").mkdir()
    (tmp_path / "numpy-2.9.9.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 2.9.9\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ros2_actionnet.system.start import run; sys.exit(run('broken'))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "cv2 cannot be imported: numpy.core.multiarray failed to import; it is compiled for NumPy 1, and NumPy is "
        f"2.9.9: {pip_install(KEEP_NUMPY_1, numpy='')}\n"
    )
