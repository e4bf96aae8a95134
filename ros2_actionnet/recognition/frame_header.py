"""When and where a frame was taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class FrameHeader:
    """A std_msgs/Header without ROS: the stamp in whole seconds and nanoseconds, and the camera's coordinate frame."""

    sec: int
    nanosec: int
    frame_id: str = ""

    @property
    def stamp(self) -> float:
        """The stamp in seconds."""
        return self.sec + self.nanosec * 1e-9


def split_seconds(seconds: float) -> dict[str, int]:
    """Seconds as the whole seconds and the nanoseconds of a Time or Duration: `sec` and `nanosec`."""
    whole = math.floor(seconds)
    nanosec = round((seconds - whole) * _NANOSECONDS)
    return {"sec": whole + nanosec // _NANOSECONDS, "nanosec": nanosec % _NANOSECONDS}
