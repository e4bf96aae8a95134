"""What a machine is, as far as TensorRT on it depends on that: lines for a report. Needs nothing but Python 3.8.

python3 scripts/machine_facts.py [--missing]     with it, only what is missing to run the checks, and how to install it
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# What the checks import, and how it is installed.
NEEDED = {
    "numpy": "apt install python3-numpy, or pip install numpy",
    "yaml": "apt install python3-yaml, or pip install PyYAML",
    "cv2": "apt install python3-opencv, or pip install opencv-python-headless",
    "PIL": "apt install python3-pil, or pip install pillow",
    "onnx": "pip install onnx",
    "pytest": "apt install python3-pytest, or pip install pytest",
}
OLDEST_PYTHON = (3, 10)


def facts() -> dict[str, str]:
    """What there is, by name; what is not there says so."""
    found: dict[str, Callable[[], str | None]] = {
        "machine": _machine,
        "system": _system,
        "JetPack": _jetpack,
        "driver": _driver,
        "CUDA toolkit": lambda: _first_match(_run("nvcc", "--version"), r"release [\d.]+, V([\d.]+)"),
        "Python": lambda: f"{platform.python_version()} ({sys.executable})",
        "TensorRT": _tensorrt,
        "pycuda": _pycuda,
        "numpy, onnx, OpenCV": lambda: ", ".join(_version(name) for name in ("numpy", "onnx", "cv2")),
        "references": lambda: ", ".join(f"{name} {_version(name)}" for name in ("openvino", "onnxruntime")),
        "ROS 2": _ros,
        "commit": lambda: _run("git", "-C", str(Path(__file__).parent), "log", "-1", "--format=%h %cs").strip() or None,
    }
    answers = {}
    for name, ask in found.items():
        try:
            answers[name] = ask() or "not found"
        except Exception as error:  # a report must come whatever is broken
            answers[name] = f"cannot be told: {type(error).__name__}: {error}"
    return answers


def missing() -> list[str]:
    """What keeps the checks from running, each with how to install it."""
    lines = []
    if sys.version_info < OLDEST_PYTHON:
        lines.append(f"Python {platform.python_version()} is too old: 3.10 or newer is needed (set PYTHON to one)")
    for name, remedy in NEEDED.items():
        try:
            importlib.import_module(name)
        except Exception as error:
            lines.append(f"{name} cannot be imported ({error}): {remedy}")
    return lines


def _machine() -> str:
    model = Path("/proc/device-tree/model")
    name = model.read_text().strip("\0\n") if model.exists() else platform.processor()
    gpus = _run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").strip().replace("\n", "; ")
    memory = _first_match(Path("/proc/meminfo").read_text(), r"MemTotal: +(\d+) kB")
    parts = [name, platform.machine(), f"{int(memory or 0) / 2**20:.0f} GiB of memory", gpus]
    return ", ".join(part for part in parts if part)


def _system() -> str:
    release = Path("/etc/os-release")
    name = _first_match(release.read_text(), r'PRETTY_NAME="(.*)"') if release.exists() else None
    return f"{name or platform.system()}, kernel {platform.release()}"


def _jetpack() -> str | None:
    release = Path("/etc/nv_tegra_release")
    if not release.exists():
        return "not a Jetson"
    package = _run("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack").strip()
    return (
        f"{package or 'package nvidia-jetpack is not installed'}; L4T {release.read_text().splitlines()[0].strip('# ')}"
    )


def _driver() -> str | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"not found ({error})"
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    proc = Path("/proc/driver/nvidia/version")
    kernel = _first_match(proc.read_text(), r"Kernel Module\S* +.*?([\d.]+)") if proc.exists() else None
    return f"{kernel or 'version unknown'}, for CUDA up to {number.value // 1000}.{number.value % 1000 // 10}"


def _tensorrt() -> str | None:
    found = []
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            found.append(f"{name} {importlib.import_module(name).__version__}")
        except ModuleNotFoundError:
            continue
        except Exception as error:
            found.append(f"{name} cannot be imported: {error}")
    return "; ".join(found) or None


def _pycuda() -> str | None:
    try:
        version: str = importlib.import_module("pycuda").VERSION_TEXT
    except ModuleNotFoundError:
        return None
    try:
        built = importlib.import_module("pycuda.driver").get_version()
    except Exception as error:
        return f"{version}, which cannot be imported: {error}"
    return f"{version}, built for CUDA {'.'.join(map(str, built))}"


def _ros() -> str | None:
    distribution = os.environ.get("ROS_DISTRO")
    try:
        importlib.import_module("rclpy")
    except Exception as error:
        return f"{distribution or 'not sourced'}; rclpy cannot be imported: {error}"
    return distribution or "from wheels"


def _version(module: str) -> str:
    try:
        return str(importlib.import_module(module).__version__)
    except Exception:
        return "not found"


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _first_match(text: str, pattern: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print("\n".join(missing()))
    else:
        for fact, answer in facts().items():
            print(f"- {fact}: {answer}")
