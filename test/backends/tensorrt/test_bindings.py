"""This package's TensorRT code over the real Python bindings of each version, without TensorRT's libraries.

A process of each version runs the builder and the session with the real bindings over a stub (`support.tensorrt_stub`):
all names, keywords, enums, flags and argument types that our code uses are used for real. What TensorRT does with them
is shown by the doubles, whose names are compared with those of the bindings here, and by a GPU.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from ros2_actionnet.backends import tensorrt as source_package
from support import cuda_doubles, tensorrt_bindings_program, tensorrt_doubles
from support.tensorrt_doubles import Surface
from support.tensorrt_stub import compile_stub

ROOT = Path(__file__).parents[3]
SOURCES = Path(next(iter(source_package.__path__)))
PINS = [
    Requirement(line)
    for line in (ROOT / "test" / "tensorrt_bindings.txt").read_text().splitlines()
    if not line.startswith("#")
]
RTX = "RTX"
VERSIONS = [*(str(pin.specifier).removeprefix("==") for pin in PINS), RTX]

# Names that classes of TensorRT have too, but that our code uses of other objects.
OF_OTHER_OBJECTS = {"append", "clear", "enqueue", "major", "name", "nbytes", "precision", "uint8", "write"}

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the stub library relies on the calling convention of x86-64"
)


def bindings_of(version: str) -> tuple[Path, str]:
    """The folder to import the bindings from, and the module's name."""
    if version == RTX:
        spec = importlib.util.find_spec("tensorrt_rtx_bindings")
        if spec is None or spec.origin is None:
            pytest.skip("TensorRT for RTX is not installed")
        return Path(spec.origin).parents[1], "tensorrt_rtx_bindings"
    pin = PINS[VERSIONS.index(version)]
    if pin.marker is not None and not pin.marker.evaluate():
        pytest.skip(f"there is no wheel of {pin.name} {version} for this Python and machine ({pin.marker})")
    folder = Path(sys.prefix) / "tensorrt_bindings" / version
    if not folder.is_dir():
        made_by_setup = (Path(sys.prefix) / "workspace").is_dir()
        (pytest.fail if made_by_setup else pytest.skip)(f"{folder} is missing: run scripts/setup --for-tests")
    return folder, "tensorrt_bindings"


@cache
def report_of(version: str, scratch: Path) -> dict[str, Any]:
    """What `support.tensorrt_bindings_program` says of a version."""
    folder, module = bindings_of(version)
    (extension,) = (folder / module).glob("tensorrt*.so")
    stub = compile_stub(extension, scratch / version)
    program = str(Path(tensorrt_bindings_program.__file__))
    environment = dict(os.environ)
    environment["LD_LIBRARY_PATH"] = f"{stub.parent}:{environment.get('LD_LIBRARY_PATH', '')}"
    paths = [str(folder), str(ROOT / "test"), environment.get("PYTHONPATH", "")]
    environment |= {"PYTHONPATH": ":".join(paths), "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, program, module, str(stub)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(name="scratch", scope="module")
def scratch_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stubs")


@pytest.mark.parametrize("missing", ["nm", "g++"])
def test_without_a_compiler_it_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, module = bindings_of(VERSIONS[-2])
    (extension,) = (folder / module).glob("tensorrt*.so")
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else f"/usr/bin/{name}")
    with pytest.raises(AssertionError, match=r"there is no (nm|g\+\+): apt install (binutils|g\+\+)"):
        compile_stub(extension, tmp_path / "stub")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bindings_take_every_call_of_ours(version: str, scratch: Path) -> None:
    report = report_of(version, scratch)
    assert report["version"] == version or version == RTX
    calls = set(report["calls"])
    assert calls >= {
        "Builder.create_network",
        "Builder.build_serialized_network",
        "IOptimizationProfile.set_shape",
        "ICudaEngine.get_tensor_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.profiler",
    }
    # The branches of the versions.
    assert ("IBuilderConfig.set_flag" in calls) == version.startswith("8.")
    assert ("IBuilderConfig.set_timing_cache" in calls) == (version != RTX)
    assert ("IBuilderConfig.set_compute_capability" in calls) == (version == RTX)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_bindings_report_as_failed_is_raised_as_an_error_of_this_package(version: str, scratch: Path) -> None:
    failures = report_of(version, scratch)["failures"]
    words = {failure.partition(": ")[0]: failure for failure in failures}
    assert words.keys() == {"parse", "add_optimization_profile", "build_serialized_network", "Builder"}
    assert "cannot read the network camera_motion: In node" in words["parse"]
    assert "refuses batches of 1 to 1" in words["add_optimization_profile"]
    assert "cannot build an engine of camera_motion" in words["build_serialized_network"]
    assert "cannot be started here" in words["Builder"]


def test_every_line_that_uses_tensorrt_ran_over_some_version(scratch: Path) -> None:
    """A new use in a line that nothing here runs fails: let `tensorrt_bindings_program` run it."""
    if not all(pin.marker is None or pin.marker.evaluate() for pin in PINS):
        pytest.skip("some versions have no wheel for this Python")
    reports = [report_of(version, scratch) for version in VERSIONS]
    names = {name for report in reports for name in report["module"]}
    names |= {member for report in reports for members in report["surface"].values() for member in members}
    names -= OF_OTHER_OBJECTS
    left = []
    for path in sorted(SOURCES.glob("*.py")):
        ran = {line for report in reports for line in report["lines"].get(path.name, [])}
        source = path.read_text()
        if "trt." in source:  # the others get no object of TensorRT, or pass it on
            left += [f"{path.name}:{line}: {use}" for line, use in unexecuted(source, names, ran)]
    assert not left


def unexecuted(source: str, names: set[str], ran: set[int]) -> Iterator[tuple[int, str]]:
    """The uses of `names`, as attributes or imported names, in statements of which no line ran: line, name."""

    def visit(node: ast.AST, statement_start: int) -> Iterator[tuple[int, str]]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST):
                    continue
                start = child.lineno if isinstance(child, ast.stmt) else statement_start
                if isinstance(child, ast.Attribute) and child.attr in names:
                    lines = range(start, (child.end_lineno or child.lineno) + 1)
                    if not ran.intersection(lines):
                        yield child.lineno, child.attr
                yield from visit(child, start)

    return visit(ast.parse(source), 0)


def test_a_line_that_did_not_run_is_seen() -> None:
    source = "def f(x: trt.Builder):\n    x.parse(\n        y.parse)\n    if x:\n        x.build()\n        x.other()\n"
    assert list(unexecuted(source, {"parse", "build", "Builder"}, {1, 2, 4})) == [(5, "build")]
    assert list(unexecuted(source, {"parse"}, {1})) == [(2, "parse"), (3, "parse")]


# ---- the doubles -----------------------------------------------------------------------------------------------------

SURFACES = {
    "8.6.1": tensorrt_doubles.TENSORRT_8_5,
    "10.3.0": tensorrt_doubles.TENSORRT_10,
    "11.4.0.106": tensorrt_doubles.TENSORRT_11,
    RTX: tensorrt_doubles.TENSORRT_RTX,
}


def double_classes(surface: Surface) -> dict[str, type]:
    """The classes of the doubles, by the names in the real bindings, with which their docstrings begin."""
    module = tensorrt_doubles.make_module(surface, tensorrt_doubles.Machine())
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    for source in (tensorrt_doubles, cuda_doubles):
        kinds += [kind for kind in vars(source).values() if isinstance(kind, type)]
    found = {kind.__name__: kind for kind in vars(module).values() if hasattr(kind, "__members__")}
    for kind in kinds:
        words = (kind.__doc__ or "").split()
        if words and words[0].startswith("tensorrt."):
            found[words[0].removeprefix("tensorrt.").rstrip(".,")] = kind
    config = type(tensorrt_doubles.make_config(surface, tensorrt_doubles.Machine()))
    return found | {"IBuilderConfig": config, "ILogger.Severity": tensorrt_doubles.ILogger.Severity}


def differences(double: type, real: dict[str, Any]) -> list[str]:
    """In what the public members of a double are not those of the real class."""
    found = []
    members: list[str] = list(getattr(double, "__members__", []))
    # The doubles' own classes, not what they have from list or Enum.
    members = members or [
        name for kind in double.__mro__[:-1] if kind.__module__ == double.__module__ for name in vars(kind)
    ]
    for member in members:
        if member.startswith("_"):
            continue
        if member not in real:
            found.append(f"{member} is not there")
        elif isinstance(real[member], int):
            if int(getattr(double, member).value) != real[member]:
                found.append(f"{member} is {real[member]}")
        elif real[member] is not None and inspect.isfunction(getattr(double, member)):
            ours = list(inspect.signature(getattr(double, member)).parameters)
            if ours not in [theirs[: len(ours)] for theirs in real[member]]:
                found.append(f"{member} takes {' or '.join(map(str, real[member]))}, not {ours}")
    return found


@pytest.mark.parametrize("version", SURFACES)
def test_the_doubles_have_names_that_the_bindings_have(version: str, scratch: Path) -> None:
    surface = report_of(version, scratch)["surface"]
    doubles = double_classes(SURFACES[version])
    assert len(doubles) > 12
    found = {name: differences(kind, surface[name]) for name, kind in doubles.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_name_a_value_and_a_keyword_that_are_wrong_are_seen() -> None:
    real = {"parse": [["self", "model"], ["self"]], "FP16": 0, "num_errors": None}

    class Double:
        FP16 = type("value", (), {"value": 1})

        def parse(self, content: bytes) -> None: ...

        def build(self) -> None: ...

    assert differences(Double, real) == [
        "FP16 is 0",
        "parse takes ['self', 'model'] or ['self'], not ['self', 'content']",
        "build is not there",
    ]
