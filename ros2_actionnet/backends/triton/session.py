"""A network on a server: windows of uint8 frames in, scores out."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends.base import Scores, Session
from ros2_actionnet.backends.ring import Frame, HostRing
from ros2_actionnet.backends.triton.connection import Connection, Deadline
from ros2_actionnet.backends.triton.contract import Form, Served, is_unknown_model, read_served
from ros2_actionnet.errors import ServerError
from ros2_actionnet.networks import INPUT_NAME, OUTPUT_NAME, PreparedNetwork

WindowT = TypeVar("WindowT")

_MICROSECONDS = 1_000_000


class ServerSession(Session[WindowT]):
    """A network on a server; what is sent and received is up to the subclasses.

    The model is compared with the network before the first request of every connection, and every request names its
    version: a server that comes back may serve another one.
    """

    form: Form = "window"

    def __init__(
        self, network: PreparedNetwork, connection: Connection, model: str, served: Served, max_batch: int
    ) -> None:
        super().__init__(network, backend="triton", device=f"{connection.server}/{model}", precision=served.precision)
        self.max_batch = max(1, min(max_batch, served.max_batch))
        self._connection = connection
        self._model = model
        self._version = served.version
        self._checked = connection.generation
        self._requests = itertools.count(1)

    def _infer(self, windows: Sequence[WindowT]) -> Scores:
        deadline = Deadline(self._connection.timeout)
        if self._checked != self._connection.generation or not self._connection.is_open:
            self._check_again(deadline)
        largest = self.max_batch
        parts = [windows[i : i + largest] for i in range(0, len(windows), largest)]
        try:
            return np.concatenate([self._score(part, deadline) for part in parts])
        except ServerError as error:
            if not is_unknown_model(error):
                raise
            self._check_again(deadline)  # which says what there is in its place
        return np.concatenate([self._score(part, deadline) for part in parts])

    @abstractmethod
    def _score(self, windows: Sequence[WindowT], deadline: Deadline) -> Scores:
        """Return the scores of at most `max_batch` windows."""

    def _check_again(self, deadline: Deadline) -> None:
        served = read_served(self._connection, self._model, self.network, deadline)
        if served.form != self.form:
            raise ServerError(
                f"model '{self._model}' on {self._connection.server} is now served in its {served.form} form, not "
                f"in its {self.form} form; set device again to load it anew"
            )
        self._checked, self._version = self._connection.generation, served.version

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class WindowSession(ServerSession[Frame]):
    """Every request brings whole windows, as one batch."""

    def create_ring(self) -> HostRing:
        """Return a ring in host memory."""
        return HostRing(self.network.frames, self.network.height, self.network.width)

    def _score(self, windows: Sequence[Frame], deadline: Deadline) -> Scores:
        from tritonclient import grpc

        batch = np.stack(windows)
        request = str(next(self._requests))
        given = grpc.InferInput(INPUT_NAME, list(batch.shape), "UINT8").set_data_from_numpy(batch)
        answer = self._connection.call(
            "infer",
            deadline,
            self._model,
            [given],
            model_version=self._version,
            request_id=request,
            timeout=server_timeout(deadline),
        )
        return scores_of(answer, request, (len(windows), self.network.num_classes))


def server_timeout(deadline: Deadline) -> int:
    """Return the microseconds after which the server may drop a request that still waits in its queue."""
    return max(1, round(deadline.remaining * _MICROSECONDS))


def scores_of(answer: Any, request: str, shape: tuple[int, int]) -> Scores:
    """Return the scores of an answer, float32 [B, classes], which no later request overwrites.

    Raises ServerError for the answer to another request, and for other scores than float32 of `shape`.
    """
    answered = answer.get_response().id
    if answered != request:
        raise ServerError(f"the server answers request '{answered}' in place of {request}; its answer is dropped")
    scores: NDArray[Any] | None = answer.as_numpy(OUTPUT_NAME)
    if scores is None or scores.dtype != np.float32 or scores.shape != shape:
        found = "no scores" if scores is None else f"scores {scores.dtype} {list(scores.shape)}"
        raise ServerError(
            f"the server gives {found} in place of float32 {list(shape)}; see that its model is the one that "
            "`actionnet-networks export` wrote"
        )
    return np.array(scores)
