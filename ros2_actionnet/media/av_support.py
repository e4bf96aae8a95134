"""PyAV: its import, the words of its errors, and what it is told to open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ros2_actionnet.errors import MediaError

_OLDEST_AV = (17, 1)  # older ones get colours of HD wrong, and some were built without H.264


def import_av() -> Any:
    """The module av. Raises MediaError, which says how to install it, where it is missing or too old."""
    try:
        import av
    except ImportError as error:
        raise MediaError(f"videos, cameras and streams need PyAV: pip install av ({error})") from error
    if tuple(int(part) for part in av.__version__.split(".")[:2]) < _OLDEST_AV:
        raise MediaError(f"PyAV {av.__version__} is too old: pip install --upgrade av")
    return av


@dataclass(frozen=True)
class Address:
    """What PyAV is to open, and how.

    Attributes:
        url: for FFmpeg.
        name: for a person.
        remedy: what to do if it cannot be opened.
        format: of the container, where FFmpeg cannot tell.
        options: FFmpeg's, for the container.
        timeout: s to wait for an answer or a frame; None: for ever.
        live: frames come when they come: none is held back to decode several at once.
    """

    url: str
    name: str
    remedy: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    live: bool = False


def reason(error: Exception) -> str:
    """What FFmpeg says, without its number and the path."""
    return str(getattr(error, "strerror", None) or error)
