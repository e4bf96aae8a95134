"""When and where a frame was taken; in integer nanoseconds, as in ROS, because a float of seconds rounds stamps."""

from __future__ import annotations

from dataclasses import dataclass

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True)
class FrameHeader:
    """A std_msgs/Header without ROS: the stamp in whole seconds and nanoseconds, and the camera's coordinate frame."""

    sec: int
    nanosec: int
    frame_id: str = ""

    @property
    def stamp(self) -> int:
        """The stamp in nanoseconds."""
        return self.sec * NANOSECONDS + self.nanosec

    @classmethod
    def at(cls, stamp: int, frame_id: str = "") -> FrameHeader:
        """Return the header of a frame taken at `stamp` (ns)."""
        return cls(*divmod(stamp, NANOSECONDS), frame_id)


def nanoseconds(seconds: float) -> int:
    """Return seconds, as a person gives them, in nanoseconds; rounded to the nearest."""
    return round(seconds * NANOSECONDS)


def split_nanoseconds(duration: int) -> dict[str, int]:
    """Return nanoseconds as the fields of a Time or Duration: `sec` and `nanosec`."""
    sec, nanosec = divmod(duration, NANOSECONDS)
    return {"sec": sec, "nanosec": nanosec}
