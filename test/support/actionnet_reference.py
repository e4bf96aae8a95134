"""What jetson-inference's actionNet computes, in numpy and ONNX Runtime, from its published behavior.

Written from what its source says it does, without its code:

- a frame is taken if it is the first, or if `skip_frames` frames were skipped since the last one that was taken: frames
  0, 2, 4, ... with the default of 1. A skipped frame is answered with the last result;
- the whole frame is stretched to the network's size by taking one pixel for each: that at floor(i * source / target);
- pixels are RGB, divided by 255, less the mean, divided by a std of 1;
- the window [3, T, H, W] begins as zeros. Before each frame the whole memory moves down by one frame, and the new frame
  is written at the place of its number, up to the last place. So while it fills, frames move away from where they were
  written, every second place stays empty, and what leaves a color's first place becomes the last of the color before;
- the network has no softmax; it is applied here. The result is the best class that reaches the threshold, the first of
  several, or -1 with a confidence of 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

MEAN = (0.4344705882352941, 0.4050980392156863, 0.3774901960784314)

Pixels = NDArray[np.uint8]


class ActionNetReference:
    """The network of `model`, the file as it was exported, fed and read as actionNet does it.

    `scores` are those of the newest window that was classified; `window` is [1, 3, T, H, W], `numbers` says which taken
    frame is in each of its places ([3, T], -1 for none).
    """

    def __init__(self, model: Path, skip_frames: int = 1, threshold: float = 0.01) -> None:
        self._session = _open(model)
        (value,) = self._session.get_inputs()
        self._input = value.name
        _, colors, self.frames, self.height, self.width = value.shape
        assert colors == 3
        self.skip_frames, self.threshold = skip_frames, threshold
        self.window = np.zeros((1, 3, self.frames, self.height, self.width), np.float32)
        self.numbers = np.full((3, self.frames), -1)
        self.scores: NDArray[np.float32] | None = None
        self.taken = 0
        self._skipped = skip_frames  # so that the first frame is taken
        self._place = 0
        self._last = (-1, 0.0)

    def classify(self, frame: Pixels) -> tuple[int, float]:
        """Class and confidence, for an RGB frame uint8 [H, W, 3] of any size."""
        if self._skipped < self.skip_frames:
            self._skipped += 1
            return self._last
        self._skipped = 0
        self._take(frame)
        (logits,) = self._session.run(None, {self._input: self.window})
        powers = np.exp(logits[0] - logits[0].max())
        self.scores = np.asarray(powers / powers.sum(), np.float32)
        self._last = (-1, 0.0)
        for number, score in enumerate(self.scores.tolist()):
            if score >= self.threshold and score > self._last[1]:
                self._last = (number, score)
        return self._last

    @property
    def is_whole(self) -> bool:
        """Whether the window holds the newest T frames that were taken, in order, in every color."""
        newest = np.arange(self.taken - self.frames, self.taken)
        return self.taken >= self.frames and bool((self.numbers == newest).all())

    def _take(self, frame: Pixels) -> None:
        for memory in (self.window.reshape(3 * self.frames, -1), self.numbers.reshape(3 * self.frames, -1)):
            memory[:-1] = memory[1:].copy()
        small = point_sampled(frame, self.height, self.width).astype(np.float32) / np.float32(255)
        self.window[0, :, self._place] = (small - np.array(MEAN, np.float32)).transpose(2, 0, 1)
        self.numbers[:, self._place] = self.taken
        self.taken += 1
        self._place = min(self._place + 1, self.frames - 1)


def point_sampled(frame: Pixels, height: int, width: int) -> Pixels:
    """A frame stretched to [height, width] by taking one of its pixels for each."""
    rows = (np.arange(height, dtype=np.float32) * np.float32(frame.shape[0] / height)).astype(int)
    columns = (np.arange(width, dtype=np.float32) * np.float32(frame.shape[1] / width)).astype(int)
    return np.asarray(frame[rows][:, columns])


def _open(model: Path) -> onnxruntime.InferenceSession:
    """A model as it is, in one thread: several of ONNX Runtime's spin, which starves whoever else is there."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
