"""A network whose windows are kept on the server: a request brings the frames that are new since the last one.

Every stream is a sequence of Triton's, and its frames are numbered from 1. A request says which number its newest frame
has, so that one which is repeated, because its answer was lost, changes nothing, and the server knows when it lacks a
frame. It then gets the whole window, as it does at the beginning, and after it was restarted.
"""

from __future__ import annotations

import queue
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ros2_actionnet.backends.base import Scores
from ros2_actionnet.backends.ring import Frame, HostRing
from ros2_actionnet.backends.triton.connection import Deadline
from ros2_actionnet.backends.triton.contract import NUMBER, Form
from ros2_actionnet.backends.triton.models.ring_model import OUT_OF_STEP
from ros2_actionnet.backends.triton.session import ServerSession, scores_of, server_timeout
from ros2_actionnet.errors import ServerError
from ros2_actionnet.networks import INPUT_NAME

# Ends of messages of Triton's sequence batcher about a sequence that it does not know (any more).
_UNKNOWN_SEQUENCE = "START flag"


class SequenceRing:
    """A stream's window here, and how much of it the server has.

    Attributes:
        sequence: The stream's id on the server.
        number: Number of the newest frame.
        on_server: Number of the newest frame that the server is known to have; None: send it the whole window.
    """

    def __init__(self, frames: int, height: int, width: int) -> None:
        self._ring = HostRing(frames, height, width)
        self.sequence = secrets.randbelow(2**62) + 1
        self.number = 0
        self.on_server: int | None = None
        self._next_slot = 0

    @property
    def frames(self) -> int:
        """Number of frames in a window, N."""
        return self._ring.frames

    def write(self, slot: int, frame: Frame) -> None:
        """Store `frame` (uint8 [H, W, 3], RGB) in `slot` and its mirror."""
        self._ring.write(slot, frame)
        self._count(slot)

    def repeat(self, source: int, slot: int) -> None:
        """Copy slot `source` to `slot` and its mirror."""
        self._ring.repeat(source, slot)
        self._count(slot)

    def window(self, first: int) -> SequenceWindow:
        """Return the window that begins in slot `first`, oldest frame first; valid until the next write."""
        if first != self._next_slot:  # not the frames written last, in the order in which they were written
            self.on_server = None
        return SequenceWindow(self, self._ring.window(first))

    def _count(self, slot: int) -> None:
        if slot != self._next_slot:  # the window begins anew
            self.on_server = None
        self._next_slot = (slot + 1) % self.frames
        self.number += 1


@dataclass(frozen=True, eq=False)
class SequenceWindow:
    """A window of a stream: uint8 [N, H, W, 3], oldest frame first."""

    ring: SequenceRing
    frames: Frame

    @property
    def news(self) -> Frame:
        """The frames that the server lacks: at least the newest, and all of them for a sequence that begins."""
        ring = self.ring
        count = len(self.frames) if ring.on_server is None else ring.number - ring.on_server
        return self.frames[-min(max(count, 1), len(self.frames)) :]


@dataclass(frozen=True, eq=False)
class _Request:
    window: SequenceWindow
    id: str


class SequenceSession(ServerSession[SequenceWindow]):
    """Every request brings the new frames of one window; those of several windows are under way together."""

    form: Form = "stateful"

    def create_ring(self) -> SequenceRing:
        """Return a ring in host memory that knows what the server has of it."""
        return SequenceRing(self.network.frames, self.network.height, self.network.width)

    def _score(self, windows: Sequence[SequenceWindow], deadline: Deadline) -> Scores:
        scores = np.empty((len(windows), self.network.num_classes), np.float32)
        rows = {id(window): row for row, window in enumerate(windows)}
        lacking = self._exchange(windows, scores, rows, deadline, may_lack=True)
        if lacking:
            for window in lacking:
                window.ring.on_server = None
            self._exchange(lacking, scores, rows, deadline, may_lack=False)
        return scores

    def _exchange(
        self,
        windows: Sequence[SequenceWindow],
        scores: Scores,
        rows: dict[int, int],
        deadline: Deadline,
        *,
        may_lack: bool,
    ) -> list[SequenceWindow]:
        """Put the scores of `windows` into their rows; return the windows of which the server lacks frames.

        Raises ServerError for any other failure, once no request is under way any more.
        """
        answers: queue.SimpleQueue[tuple[_Request, Any, Any]] = queue.SimpleQueue()
        calls, lacking = [], list[SequenceWindow]()
        failure: Exception | None = None
        try:
            for window in windows:
                request = _Request(window, str(next(self._requests)))
                calls.append(self._send(request, partial(_put, answers, request), deadline))
            for _ in windows:
                try:
                    request, answer, error = answers.get(timeout=deadline.remaining + 0.1)
                except queue.Empty:  # gRPC ends every call at its deadline; this is for one that does not
                    raise ServerError(f"no answer from {self._connection.server}", "DEADLINE_EXCEEDED") from None
                if error is None:
                    self._take(request, answer, scores[rows[id(request.window)]])
                elif may_lack and any(sign in str(error) for sign in (_UNKNOWN_SEQUENCE, OUT_OF_STEP)):
                    lacking.append(request.window)
                else:
                    failure = failure or error
        except BaseException:
            for call in calls:
                call.cancel()
            self._connection.close()
            raise
        if failure is not None:
            raise self._connection.failure(failure)
        return lacking

    def _send(self, request: _Request, done: Any, deadline: Deadline) -> Any:
        from tritonclient import grpc

        ring, frames = request.window.ring, request.window.news[np.newaxis]
        number = np.array([[ring.number]], np.int64)
        return self._connection.client.async_infer(
            self._model,
            [
                grpc.InferInput(INPUT_NAME, list(frames.shape), "UINT8").set_data_from_numpy(frames),
                grpc.InferInput(NUMBER, [1, 1], "INT64").set_data_from_numpy(number),
            ],
            done,
            model_version=self._version,
            request_id=request.id,
            sequence_id=ring.sequence,
            sequence_start=ring.on_server is None,
            timeout=server_timeout(deadline),
            client_timeout=deadline.remaining,
        )

    def _take(self, request: _Request, answer: Any, row: Scores) -> None:
        ring = request.window.ring
        row[:] = scores_of(answer, request.id, (1, self.network.num_classes))[0]
        number = answer.as_numpy(NUMBER)
        if number is None or number.size != 1 or int(number.flat[0]) != ring.number:
            raise ServerError("the server gives the scores of another window; they are dropped")
        ring.on_server = ring.number


def _put(answers: queue.SimpleQueue[tuple[_Request, Any, Any]], request: _Request, result: Any, error: Any) -> None:
    answers.put((request, result, error))
