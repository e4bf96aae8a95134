"""Inference with OpenVINO, on CPUs and on Intel's GPUs and NPUs."""

from __future__ import annotations

import importlib.util
import logging
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.base import DEFAULT_OPTIONS, LoadOptions, Scores, Session, check_int8
from ros2_actionnet.backends.openvino_ir import with_common_signature
from ros2_actionnet.backends.openvino_stem import FeatureRing, SplitModel, split_stem
from ros2_actionnet.backends.ring import FrameRing, HostRing
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.networks.prepare_process import prepare_in_process
from ros2_actionnet.system.imports import import_remedy, pip_install
from ros2_actionnet.system.text import printable

_ELEMENT_TYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_PRECISIONS = {element: precision for precision, element in _ELEMENT_TYPES.items()}

WORTH_REUSING = 0.85
"""The stem's results are used again if that brings the time of a window under this part of what it was."""
_DEVICES = ("CPU", "GPU", "NPU")

logger = logging.getLogger(__name__)


class OpenVINOSession(Session[Any]):
    """A network compiled by OpenVINO for a batch of one."""

    def __init__(self, network: PreparedNetwork, compiled: Any, device: str, precision: str) -> None:
        super().__init__(network, backend="openvino", device=device, precision=precision)
        self._request = compiled.create_infer_request()

    @property
    def computes_in(self) -> str:
        """Return OpenVINO's name of the type that what is not quantized is computed in."""
        compiled = self._request.get_compiled_model()
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def create_ring(self) -> FrameRing[Any]:
        """Return a ring in host memory, which OpenVINO reads in place."""
        return HostRing(self.network.frames, self.network.height, self.network.width)

    def _infer(self, windows: Sequence[Any]) -> Scores:
        # One at a time: a batch gains nothing on a CPU, and a dynamic batch costs 1.5 ms per window.
        scores = np.empty((len(windows), self.network.num_classes), np.float32)
        for row, window in zip(scores, windows, strict=True):
            found = self._run(window).reshape(-1)
            if found.size != row.size:
                raise BackendError(
                    f"{self.network.name} gives {found.size} scores a window, but its label file has {row.size} labels "
                    f"({self.network.spec.labels}); it needs {found.size} lines, one for each class"
                )
            row[:] = found
        return scores

    def _run(self, window: Any) -> NDArray[np.float32]:
        """Return the scores of a window of this session's ring, in memory that the next run overwrites."""
        # The ring's own memory, uint8 [1, N, H, W, 3]: nothing is copied.
        self._request.set_input_tensor(_tensor(window[np.newaxis]))
        self._request.infer()
        return np.asarray(self._request.get_output_tensor().data)

    def close(self) -> None:
        """Free the compiled network."""
        self._request = None


class ReusingSession(OpenVINOSession):
    """A network whose stem computes only what the window before has not left, with the same numbers."""

    def __init__(self, network: PreparedNetwork, split: SplitModel, compile_model: Any, precision: str) -> None:
        super().__init__(network, compile_model(split.trunk), "CPU", precision)
        self._every_step = compile_model(split.every_step).create_infer_request()
        self._new_steps = [compile_model(each).create_infer_request() for each in split.new_steps]
        self._split = split

    def create_ring(self) -> FeatureRing:
        """Return a ring in host memory, with one for the features of its windows."""
        network = self.network
        return FeatureRing(network.frames, network.height, network.width, self._split)

    def _run(self, window: Any) -> NDArray[np.float32]:
        ring, first, frames, margin = window.ring, window.first, self.network.frames, self._split.margin
        features = ring.features[first : first + frames]
        computed = max(1, ring.missing(first))
        if computed <= len(self._new_steps):
            stem = self._new_steps[computed - 1]
            stem.set_output_tensor(0, _tensor(features[:margin]))
            stem.set_output_tensor(1, _tensor(features[-margin - computed :]))
        else:
            stem, computed = self._every_step, frames - 2 * margin
            stem.set_output_tensor(0, _tensor(features))
        stem.set_input_tensor(_tensor(window.frames[np.newaxis]))
        stem.infer()
        ring.keep(first, computed)
        self._request.set_input_tensor(_tensor(features))
        self._request.infer()
        return np.asarray(self._request.get_output_tensor().data)

    def close(self) -> None:
        """Free the compiled models."""
        super().close()
        self._every_step, self._new_steps = None, []


class OpenVINOBackend:
    """Loads networks with OpenVINO.

    Without `reuse_stem` every window is computed whole.
    """

    name = "openvino"

    def __init__(self, *, reuse_stem: bool = True) -> None:
        self._reuse_stem = reuse_stem

    def unavailable(self, device: str) -> str | None:
        """Return why OpenVINO cannot be used on `device`, and what to do about it; None if it can."""
        if importlib.util.find_spec("openvino") is None:
            return f"OpenVINO is not installed ({pip_install('openvino')})"
        if device.split(".")[0].upper() not in ("", *_DEVICES):
            return f"device '{device}' is not one of OpenVINO's ({', '.join(_DEVICES)}); leave device empty for CPU"
        return None

    def unsupported(self, device: str, precision: str) -> str | None:
        """Return why `device` or `precision` cannot be had on this machine, with what can; None if both can.

        The first call in a process imports OpenVINO, which takes some tenths of a second.
        """
        try:
            import openvino
        except ImportError as error:
            return f"OpenVINO cannot be imported: {error}; pip install openvino"
        core = openvino.Core()
        device = device.upper() or "CPU"
        found = core.available_devices
        if device not in found and not any(name.startswith(f"{device}.") for name in found):
            return f"there is no device {device} here, but {', '.join(found)}; leave device empty for CPU"
        try:
            if precision != "auto":
                self._element_type(core, device, precision)
        except BackendError as error:
            return str(error)
        return None

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> OpenVINOSession:
        """Compile `network`; device "" is the CPU, precision "auto" the device's own choice.

        Raises BackendError for a missing device, a precision that the device does not offer, and a network that
        OpenVINO cannot compile.
        """
        try:
            import openvino
        except ImportError as error:
            remedy = import_remedy(error, pip_install("openvino"))
            raise BackendError(f"OpenVINO cannot be imported: {printable(error)}; {remedy}") from error
        if network.is_engine:
            raise BackendError(
                f"OpenVINO cannot read {network.spec.model}, which is an engine of TensorRT; set backend tensorrt, or "
                "`model` to the .onnx file that it was built from"
            )
        check_int8(network, options.precision)
        core = openvino.Core()
        device = options.device.upper() or "CPU"
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            # A thread pinned to a core waits for threads that receive images on that core, while another core is idle.
            properties["ENABLE_CPU_PINNING"] = False
        try:
            if options.precision != "auto":
                element = self._element_type(core, device, options.precision)
                if element is not None:
                    properties["INFERENCE_PRECISION_HINT"] = element
            session = _compile(core, network, device, properties)
            is_onnx = network.conversion is None
            if is_onnx and device == "CPU" and session.precision == "bf16" and has_matrix_unit():
                session = _with_the_faster_stem(core, session, device, properties)
            if self._reuse_stem and is_onnx and device == "CPU" and session.precision in ("fp32", "bf16", "int8"):
                session = _with_reused_stem(core, network, session, properties)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load {network.name} on {device}{_why(core, device, error)}") from error
        return session

    def _element_type(self, core: Any, device: str, precision: str) -> str | None:
        """Return OpenVINO's name of `precision`; raise BackendError if `device` would silently use another one.

        None for int8, which is in the model; what is left of it in floating point is computed as the device prefers.
        """
        capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if precision.upper() not in capabilities:
            offered = [name for name in (*_ELEMENT_TYPES, "int8") if name.upper() in capabilities]
            raise BackendError(
                f"precision {precision} is not offered by {device} here; set it to {' or '.join(offered)}, or auto"
            )
        return _ELEMENT_TYPES.get(precision)


def _tensor(array: NDArray[Any]) -> Any:
    """Return a tensor in the memory of `array`."""
    import openvino

    return openvino.Tensor(array, shared_memory=True)


def _read(core: Any, network: PreparedNetwork) -> Any:
    # Reading from a file does not hold the GIL.
    read = core.read_model(str(network.file)) if network.file else core.read_model(network.model, b"")
    if network.conversion is None:
        read.reshape([1, network.frames, network.height, network.width, 3])
        return read
    return with_common_signature(read, network.spec, network.conversion)


def _compile(core: Any, network: PreparedNetwork, device: str, properties: dict[str, Any]) -> OpenVINOSession:
    compiled = core.compile_model(_read(core, network), device, properties)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    precision = "int8" if network.spec.int8_of is not None else _PRECISIONS.get(used, used)
    return OpenVINOSession(network, compiled, device, precision)


def _with_the_faster_stem(
    core: Any, session: OpenVINOSession, device: str, properties: dict[str, Any]
) -> OpenVINOSession:
    """Return `session`, or the same network with its stem folded into two dimensions, whichever is measured faster."""
    network = session.network
    with prepare_in_process(network.spec, fold_stem=True) as folded:
        if folded.sha256 == network.sha256:  # it has no such stem
            return session
        candidate = _compile(core, folded, device, properties)
    whole, folded_stem = seconds_per_window(session, candidate)
    if folded_stem < whole:
        session, candidate = candidate, session
    candidate.close()
    return session


def _with_reused_stem(
    core: Any, network: PreparedNetwork, session: OpenVINOSession, properties: dict[str, Any]
) -> OpenVINOSession:
    """Return `session` of `network`, or one that uses the results of its stem again, if that is measured to pay.

    In int8 what is left of floating point is then fp32. In bf16 a value that is computed in another model may be
    rounded to the next of the 256 steps, because OpenVINO does not round to bf16 near a model's outputs.
    """
    is_int8 = session.precision == "int8"
    if is_int8:
        properties = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
    try:
        split = split_stem(_read(core, network), network.frames)
        if split is None:
            return session
        candidate = ReusingSession(
            network, split, lambda model: core.compile_model(model, "CPU", properties), session.precision
        )
    except RuntimeError as error:  # of OpenVINO: the network runs without
        logger.info("%s: the stem's results are not used again: %s", network.name, printable(error, 300))
        return session
    whole, reused = seconds_per_window(session, candidate)
    pays = reused < WORTH_REUSING * whole
    if pays and is_int8:  # last, as it compiles the network once more
        reference = session if session.computes_in == "f32" else _compile(core, network, "CPU", properties)
        are_equal = _are_equal(reference, candidate)
        if reference is not session:
            reference.close()
        if not are_equal:
            logger.info("%s: the stem's results are not used again: the scores would be others", network.name)
            candidate.close()
            return session
    logger.info(
        "%s: a window takes %.1f ms of CPU time, and %.1f ms where the stem uses its results again, so it %s",
        network.name, whole * 1e3, reused * 1e3, "does" if pays else "does not",
    )  # fmt: skip
    if pays:
        session, candidate = candidate, session
    candidate.close()
    return session


def _are_equal(whole: OpenVINOSession, candidate: OpenVINOSession) -> bool:
    """Return True if two sessions give the very same scores for some windows of noise in a row."""
    frames, random = whole.network.frames, np.random.default_rng(0)
    rings = whole.create_ring(), candidate.create_ring()
    found: list[bool] = []
    for index in range(frames + 3):
        frame = random.integers(0, 256, (whole.network.height, whole.network.width, 3), np.uint8)
        for ring in rings:
            ring.write(index % frames, frame)
        if index >= frames - 1:
            expected, scores = (
                session.infer([ring.window((index + 1) % frames)])
                for session, ring in zip((whole, candidate), rings, strict=True)
            )
            found.append(np.array_equal(expected, scores))
    return all(found)


def seconds_per_window(*sessions: OpenVINOSession) -> list[float]:
    """Measure the CPU time of one inference of each session in seconds: the least of a few in turns, after a warm-up.

    What other processes do does not count, and what other threads of this one do falls on all alike.
    """
    windows = [session.create_ring().window(0) for session in sessions]
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(8):
        for session, window, found in zip(sessions, windows, times, strict=True):
            started = time.process_time()
            session.infer([window])
            found.append(time.process_time() - started)
    return [min(found[1:]) for found in times]


def has_matrix_unit() -> bool:
    """Return True if the CPU has a matrix unit for bf16 (AMX).

    Without AMX a folded stem never gains: both forms take the same time in bf16 (78.4 and 79.1 ms of CPU for a
    ResNet-18 window on an AMD EPYC with avx512_bf16), and the folded one is slower in f32.
    """
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


# Beginnings of the lines of OpenVINO's messages that name its own source files and steps.
_NOISE = (
    "Exception from",
    "Check '",
    "FrontEnd API failed",
    "Model wasn't fully",
    "Summary:",
    "To facilitate",
    "While ",
)


def _why(core: Any, device: str, error: RuntimeError) -> str:
    """Return OpenVINO's reason for refusing a network, with the operators' names, and what to do about it."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)] or lines
    reason = textwrap.shorten("; ".join(kept), 400, placeholder=" ...")
    if "com.microsoft" in reason:
        return (
            f": {reason}; ONNX Runtime's quantizer or optimizer has put in operators of its own: quantize with "
            "quant_format=QuantFormat.QDQ, or take the model as it was before"
        )
    if "OpConversionFailure" in str(error):
        return (
            f": {reason}; export it again with the other exporter of torch.onnx.export, dynamo=True in place of "
            "dynamo=False or the reverse: they write different operators"
        )
    if device == "CPU":
        return f": {reason}"
    known = ", ".join(core.available_devices) or "none"
    return f" (devices here: {known}): {reason}; leave device empty for the CPU"
