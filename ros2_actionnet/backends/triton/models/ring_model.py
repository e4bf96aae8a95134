"""Keeps the window of every stream, so that a request need bring only the frames that are new in it.

    new frames of a stream ──▶ its ring ──▶ windows of all requests ── one batch ──▶ the model with the network

A stream is a sequence of Triton's; its frames are numbered, so that a frame which comes twice changes nothing and one
which is missing is noticed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUT_OF_STEP = "out of step"
"""Part of the message by which a client knows that it must send the whole window."""


class Rings:
    """The windows of all streams, which are forgotten when unused for `longest_pause` (s)."""

    def __init__(self, frames: int, longest_pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._frames = frames
        self._longest_pause = longest_pause
        self._clock = clock
        self._windows: dict[int, tuple[int, NDArray[np.uint8]]] = {}  # newest number, [N, H, W, 3] oldest first
        self._used: dict[int, float] = {}

    def push(self, stream: int, number: int, frames: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the window that ends with frame `number`, the last of `frames` (uint8 [K, H, W, 3]).

        Return None if a frame before these is missing. What comes a second time leaves the window as it is.
        """
        self._used.pop(stream, None)
        self._used[stream] = self._clock()  # the one used last is the last one
        if len(frames) >= self._frames:
            window = np.array(frames[-self._frames :])
        else:
            if stream not in self._windows:
                return None
            newest, window = self._windows[stream]
            new = number - newest
            if not 0 <= new <= len(frames):
                return None
            if new:
                window = np.concatenate([window[new:], frames[-new:]])
        self._windows[stream] = number, window
        return window

    def forget_unused(self) -> None:
        """Forget the streams that have paused for too long."""
        while self._used:
            stream, used = next(iter(self._used.items()))
            if self._clock() - used <= self._longest_pause:
                return
            del self._used[stream]
            self._windows.pop(stream, None)


class TritonPythonModel:
    """What Triton's Python backend runs: `frames` uint8 [1, K, H, W, 3] and `number` to `scores` and `number`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration; Triton calls this once."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._network = parameters["windows_model"]["string_value"]
        self._rings = Rings(
            int(parameters["frames"]["string_value"]), float(parameters["longest_pause"]["string_value"])
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all `requests`, each of another stream, by one request to the network."""
        import triton_python_backend_utils as triton

        def given(request: Any, name: str) -> Any:
            return triton.get_input_tensor_by_name(request, name).as_numpy()

        responses: list[Any] = [
            triton.InferenceResponse(error=triton.TritonError(f"{OUT_OF_STEP}: send the whole window"))
            for _ in requests
        ]
        windows, rows, numbers = [], [], []
        for row, request in enumerate(requests):
            number = given(request, "number").reshape(-1)[0]
            window = self._rings.push(int(given(request, "CORRID").flat[0]), int(number), given(request, "frames")[0])
            if window is not None:
                windows.append(window)
                rows.append(row)
                numbers.append(number)
        self._rings.forget_unused()
        if not windows:
            return responses
        answer = triton.InferenceRequest(
            model_name=self._network,
            requested_output_names=["scores"],
            inputs=[triton.Tensor("frames", np.stack(windows))],
        ).exec()
        if answer.has_error():
            for row in rows:
                responses[row] = triton.InferenceResponse(error=triton.TritonError(answer.error().message()))
            return responses
        scores = triton.get_output_tensor_by_name(answer, "scores").as_numpy()
        for row, number, one in zip(rows, numbers, scores, strict=True):
            responses[row] = triton.InferenceResponse(
                [
                    triton.Tensor("scores", np.ascontiguousarray(one[np.newaxis])),
                    triton.Tensor("number", np.array([[number]], np.int64)),
                ]
            )
        return responses
