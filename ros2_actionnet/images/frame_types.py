"""Frames as Python's libraries hold them: NumPy, PIL and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.errors import ImageError

_PIL_ENCODINGS = {"RGB": "rgb8", "RGBA": "rgba8", "L": "mono8"}


def array_and_encoding(frame: object, encoding: str) -> tuple[NDArray[Any], str]:
    """Return a frame as an array, and its encoding.

    Args:
        frame: An array; a PIL image, whose mode determines the encoding (others than RGB, RGBA and L are converted to
            RGB); or a PyTorch tensor on the CPU, laid out as the array would be.
        encoding: Meaning of the numbers in an array or a tensor.

    Raises:
        ImageError: The frame is None, as at the end of a cv2.VideoCapture, or is none of these.
    """
    if isinstance(frame, np.ndarray):
        return frame, encoding
    if frame is None:
        raise ImageError(
            "the frame is None: cv2 reads None at the end of a video or where a camera gives nothing; "
            "check what read() returns before you call classify()"
        )
    kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
    if kind.startswith("PIL.") and hasattr(frame, "mode") and hasattr(frame, "convert"):
        image: Any = frame if frame.mode in _PIL_ENCODINGS else frame.convert("RGB")
        return np.asarray(image), _PIL_ENCODINGS[image.mode]
    if kind.startswith("torch.") and hasattr(frame, "detach") and hasattr(frame, "numpy"):
        if getattr(frame, "device", None) is not None and frame.device.type != "cpu":  # type: ignore[attr-defined]
            raise ImageError(f"the tensor is on {frame.device}; give frame.cpu()")  # type: ignore[attr-defined]
        return np.asarray(frame.detach().numpy()), encoding
    raise ImageError(
        f"a frame is a NumPy array, a PIL image, a PyTorch tensor or a RawImage, not {kind}; "
        "convert it with np.asarray(frame, np.uint8)"
    )
