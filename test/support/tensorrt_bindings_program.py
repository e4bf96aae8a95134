"""Test tools, and nothing else: runs this package's TensorRT code over real bindings, in a process of its own.

    python tensorrt_bindings_program.py MODULE STUB     -> JSON on stdout

MODULE is the bindings' name, found by PYTHONPATH and loaded over the library STUB of `tensorrt_stub`. All calls go
through the real bindings, with the arguments of our code; what TensorRT would answer is in ANSWERS.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import inspect
import json
import mmap
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from ros2_actionnet.backends.tensorrt import builder, profile
from ros2_actionnet.backends.tensorrt.builder import EngineRequest, Gpu, build_here
from ros2_actionnet.backends.tensorrt.cuda import CudaContext, find_device
from ros2_actionnet.backends.tensorrt.execution import create_execution
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.errors import BackendError
from ros2_actionnet.networks import NetworkRequest, prepare, resolve
from support.cuda_doubles import FakeCuda
from support.tensorrt_stub import CONTENT

SOURCES = Path(builder.__file__).parent

# The memory of the stub's objects is low, so that an address is a positive int and a true bool too.
START, END = 0x100000, 0x200000
FIRST, LAST = START + 8, END - 248

FAILS = 0
ALWAYS = {"build_serialized_network": LAST, "serialize": LAST, "add_optimization_profile": 0}


class Library:
    """The stub, and what it answers next."""

    def __init__(self, path: str, has_long_shapes: bool) -> None:
        self._stub = ctypes.CDLL(path)
        self._answer = ctypes.c_long.in_dll(self._stub, "stub_answer")
        ctypes.c_int.in_dll(self._stub, "stub_has_long_shapes").value = has_long_shapes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype, libc.mmap.argtypes = (
            ctypes.c_long,
            [ctypes.c_long] * 2 + [ctypes.c_int] * 3 + [ctypes.c_long],
        )
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000  # MAP_FIXED_NOREPLACE
        assert libc.mmap(START, END - START, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == START
        self._stub.stub_make_objects.argtypes = [ctypes.c_long] * 2
        self._stub.stub_make_objects(FIRST, LAST)
        self._addresses = iter(range(FIRST, LAST, 256))
        self._texts: list[Any] = []
        self.answers: Mapping[str, Any] = {}
        self.calls: set[str] = set()

    def prepare(self, name: str, *arguments: Any) -> None:
        """Set the answer of the next call, `name(*arguments)`: as `answers` has it, or else a new object."""
        answer = self.answers.get(name, ALWAYS.get(name))
        if callable(answer):
            answer = answer(*arguments)
        if isinstance(answer, tuple):
            shape = (ctypes.c_int * 9).in_dll(self._stub, "stub_shape")
            shape[: len(answer) + 1] = [len(answer), *answer]
        elif isinstance(answer, str):
            self._texts.append(ctypes.create_string_buffer(answer.encode()))
            self._answer.value = ctypes.addressof(self._texts[-1])
        else:
            self._answer.value = next(self._addresses) if answer is None else int(answer)


class Recorded:
    """An object of the bindings, whose calls are recorded and answered as `Library.answers` says."""

    def __init__(self, real: Any, library: Library) -> None:
        vars(self).update(_real=real, _library=library)

    def __getattr__(self, name: str) -> Any:
        kind = type(self._real)
        self._library.calls.add(f"{kind.__name__}.{name}")
        if callable(getattr(kind, name)):
            return recorded_call(getattr(self._real, name), name, self._library)
        self._library.prepare(name)
        return wrapped(getattr(self._real, name), self._library)

    def __setattr__(self, name: str, value: Any) -> None:
        self._library.calls.add(f"{type(self._real).__name__}.{name}")
        setattr(self._real, name, unwrapped(value))

    def __str__(self) -> str:
        self._library.prepare("__str__")
        return str(self._real)


def recorded_call(function: Callable[..., Any], name: str, library: Library) -> Callable[..., Any]:
    """Return `function` of the bindings, to be called with recorded objects and answered as `Library.answers` says."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        library.prepare(name, *arguments)
        answer = function(*map(unwrapped, arguments), **{key: unwrapped(value) for key, value in keywords.items()})
        return wrapped(answer, library)

    return call


def wrapped(value: Any, library: Library) -> Any:
    """Return `value`, recorded if it is one of the interfaces of which the stub makes objects."""
    is_interface = type(value).__module__.startswith("tensorrt") and not hasattr(value, "__members__")
    is_value = type(value).__name__ in ("Dims", "IHostMemory")
    return Recorded(value, library) if is_interface and not is_value else value


def unwrapped(value: Any) -> Any:
    return vars(value)["_real"] if isinstance(value, Recorded) else value


class RecordedModule:
    """The module of the bindings, in which the functions and the classes that make objects are recorded."""

    def __init__(self, real: ModuleType, library: Library) -> None:
        self._real, self._library = real, library

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        self._library.calls.add(name)
        is_value = isinstance(found, type) and (
            name in ("Dims", "ILogger", "IProfiler") or hasattr(found, "__members__")
        )
        return found if is_value or not callable(found) else recorded_call(found, name, self._library)


@contextlib.contextmanager
def traced(lines: dict[str, set[int]]) -> Iterator[None]:
    """Add the lines of the TensorRT backend that run in the `with` block to `lines`, by file name."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if path.parent != SOURCES:
            return None
        lines.setdefault(path.name, set()).add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def run_all(tensorrt: TensorRT, library: Library, failures: list[str]) -> None:
    """Build and run engines with this package's own code."""
    for severity in tensorrt.module.ILogger.Severity.__members__.values():
        tensorrt.logger.log(severity, f"a message, {severity.name}")
    assert tensorrt.take_error() == "a message, ERROR"
    assert tensorrt.take_error() == ""
    network = prepare(resolve(NetworkRequest("camera_motion")))
    gpu = Gpu("GPU", (7, 5))  # too old for the portable engines of RTX, which needs more calls
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "fp16"):
            library.answers = {}
            plan = build_here(tensorrt, EngineRequest(network, precision, 4), gpu, Path(folder, "timings"))
            assert bytes(plan) == CONTENT
        quantized = replace(network, spec=replace(network.spec, int8_of=network.spec.model))
        build_here(tensorrt, EngineRequest(quantized, "int8", 4), gpu, Path(folder, "timings"))
        # What TensorRT refuses: each must come as the package's own error.
        refusals: dict[str, dict[str, Any]] = {
            "parse": {"parse": FAILS, "num_errors": 1, "__str__": "words", "node": 0},
            "add_optimization_profile": {"add_optimization_profile": -1},
            "set_timing_cache": {"set_timing_cache": FAILS},
            "build_serialized_network": {"build_serialized_network": FAILS},
            "Builder": {"Builder": FAILS},
        }
        for name, answers in refusals.items():
            library.answers = answers
            try:
                build_here(tensorrt, EngineRequest(network, "fp32"), gpu, Path(folder, "timings"))
            except BackendError as error:
                failures.append(f"{name}: {error}")
    library.answers = {"deserialize_cuda_engine": FAILS}
    assert tensorrt.deserialize(b"a plan of another TensorRT") is None
    types = tensorrt.module.DataType
    signature = {"frames": types.UINT8, "scores": types.FLOAT}
    library.answers = {
        "num_io_tensors": 2,
        "get_tensor_name": list(signature).__getitem__,
        "get_tensor_dtype": signature.__getitem__,
        "get_tensor_shape": {
            "frames": (-1, network.frames, network.height, network.width, 3),
            "scores": (-1, network.num_classes),
        }.__getitem__,
    }
    cuda, kernels = FakeCuda(), Path(tempfile.mkdtemp(), "kernels")
    context = CudaContext(cuda, find_device(cuda, ""))
    session = TensorRTSession(
        network,
        context,
        lambda: tensorrt.deserialize(b"a plan"),
        device="GPU",
        precision="fp32",
        max_batch=4,
        make_execution=lambda engine: create_execution(tensorrt, engine, context, kernels, cuda_graphs=True),
    )
    assert kernels.exists() is tensorrt.has_runtime_cache
    for memory in cuda._device.values():
        memory[:] = 0  # the stub writes no scores, and random bytes may be no numbers
    vars(profile)["find_tensorrt"] = lambda: tensorrt
    session.report_layers(profile._layer_profiler({}))
    ring = session.create_ring()
    for batch in (1, 4, 1):
        assert not session.infer([ring.window(0)] * batch).any()
    if tensorrt.has_runtime_cache:  # one that is refused costs the kernels, not the inference
        library.answers["set_runtime_cache"] = FAILS
        assert create_execution(tensorrt, tensorrt.deserialize(b"a plan"), context, kernels) is not None
    session.close()
    shutil.rmtree(kernels.parent)


def surface(module: ModuleType) -> dict[str, dict[str, Any]]:
    """Return the public members of each class: the value of an enum's, the parameters of a function's overloads."""
    return {
        name: {member: _describe(kind, member) for member in dir(kind) if not member.startswith("_")}
        for name, kind in _classes(module, "")
    }


def _classes(owner: Any, prefix: str) -> Iterator[tuple[str, type]]:
    for name, value in inspect.getmembers(owner, inspect.isclass):
        if not name.startswith("_") and value.__module__.startswith("tensorrt"):
            yield prefix + name, value
            yield from _classes(value, f"{prefix}{name}.")


def _describe(kind: Any, member: str) -> int | list[list[str]] | None:
    if member in getattr(kind, "__members__", {}):
        return int(kind.__members__[member])
    # pybind11 writes "name(self: type, parameter: type = default) -> type", for each overload.
    signatures = re.findall(
        rf"^(?:\d+\. )?{member}\((self: .*)\) ->", getattr(kind, member).__doc__ or "", re.MULTILINE
    )
    return [re.findall(r"(?:^|, )(\w+): ", signature) for signature in signatures] or None


def main(name: str, stub: str) -> None:
    """Write what was called, which lines ran, and what the bindings have."""
    for libraries in ("tensorrt_libs", "tensorrt_rtx_libs"):
        sys.modules[libraries] = None  # type: ignore[assignment]  # not to be imported: the stub takes their place
    module = importlib.import_module(name)
    is_rtx = name != "tensorrt_bindings"
    version = str(module.__version__)
    library = Library(stub, has_long_shapes=is_rtx or not version.startswith("8."))
    tensorrt = TensorRT(RecordedModule(module, library), version, is_rtx)
    lines: dict[str, set[int]] = {}
    failures: list[str] = []
    with traced(lines):
        run_all(tensorrt, library, failures)
    report = {
        "version": version,
        "calls": sorted(library.calls),
        "failures": failures,
        "lines": {file: sorted(numbers) for file, numbers in lines.items()},
        "module": sorted(key for key in dir(module) if not key.startswith("_")),
        "surface": surface(module),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
