"""When and where a frame was taken."""

from __future__ import annotations

from dataclasses import dataclass


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
