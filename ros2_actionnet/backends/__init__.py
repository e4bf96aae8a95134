"""Inference backends: the table of all backends, and the selection for `auto`."""

from __future__ import annotations

from dataclasses import dataclass

from ros2_actionnet.backends.base import DEFAULT_OPTIONS, Backend, LoadOptions, Scores, Session, describe_loaded
from ros2_actionnet.backends.openvino import OpenVINOBackend
from ros2_actionnet.backends.tensorrt.backend import TensorRTBackend
from ros2_actionnet.backends.triton.backend import TritonBackend
from ros2_actionnet.errors import BackendError, about

__all__ = [
    "BACKENDS",
    "DEFAULT_OPTIONS",
    "Backend",
    "Choice",
    "LoadOptions",
    "Scores",
    "Session",
    "choose_backend",
    "describe_loaded",
]

# In the order in which `auto` tries them.
BACKENDS: dict[str, type[Backend]] = {"tensorrt": TensorRTBackend, "openvino": OpenVINOBackend, "triton": TritonBackend}
# `auto` never chooses these: they need an address.
_ONLY_AS_ASKED = ("triton",)


@dataclass(frozen=True)
class Choice:
    """The selected backend, and the reason for the log."""

    backend: Backend
    reason: str


def choose_backend(name: str = "auto", device: str = "") -> Choice:
    """Return the backend called `name`, or for `auto` the first that can be used on `device`.

    Raises BackendError, with what to install or set, if there is none.
    """
    if name not in ("auto", *BACKENDS):
        raise BackendError(f"there is no backend '{name}'; set backend to {' or '.join(BACKENDS)}, or auto")
    reasons: list[str] = []
    with about("backend", "device"):
        for candidate in (x for x in BACKENDS if x not in _ONLY_AS_ASKED) if name == "auto" else (name,):
            backend = BACKENDS[candidate]()
            reason = backend.unavailable(device)
            if reason is None:
                why = "as asked" if name != "auto" else "; ".join([*reasons, "the first that can be used here"])
                return Choice(backend, f"{candidate} ({why})")
            reasons.append(f"{candidate}: {reason}")
        raise BackendError(f"no inference backend can be used: {'; '.join(reasons)}")
