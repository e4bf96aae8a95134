"""PyAV: its import, its error messages, and the addresses that it opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ros2_actionnet.errors import MediaError

_OLDEST_AV = (17, 1)  # older ones get HD colors wrong, and some were built without H.264


def import_av() -> Any:
    """Return the module av. Raises MediaError with installation instructions if it is missing or too old."""
    try:
        import av
    except ImportError as error:
        raise MediaError(f"videos, cameras and streams need PyAV: pip install av ({error})") from error
    if tuple(int(part) for part in av.__version__.split(".")[:2]) < _OLDEST_AV:
        raise MediaError(f"PyAV {av.__version__} is too old: pip install --upgrade av")
    return av


@dataclass(frozen=True)
class Address:
    """An input for PyAV and how to open it.

    Attributes:
        url: URL for FFmpeg.
        name: Display name.
        remedy: Advice to the user if it cannot be opened.
        format: Container format, if FFmpeg cannot detect it.
        options: FFmpeg's options for the container.
        timeout: s to wait for an answer or a frame; None: forever.
        live: True for a live input, of which no frame is held back to decode several at once.
        may_end: True if it is only live where its container states no duration.
    """

    url: str
    name: str
    remedy: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    live: bool = False
    may_end: bool = False


def file_url(path: str) -> str:
    """Return the path of a file for FFmpeg, which would take `12:30.mp4` for an address of the protocol `12`."""
    return f"file:{path}"


def reason(error: Exception) -> str:
    """Return FFmpeg's error message without the error number and the path."""
    return str(getattr(error, "strerror", None) or error)
