"""One connection to a server: every call has a deadline, and after a failure the channel is made anew.

A channel that is kept would wait for minutes after a cut link has come back: TCP repeats what was lost at growing
intervals, and gRPC reconnects at growing intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ros2_actionnet.backends.triton.address import Tls
from ros2_actionnet.errors import BackendError, ServerError
from ros2_actionnet.system.text import printable

_LARGEST_MESSAGE = 2**31 - 1
_CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    # A new channel is to connect anew, not to share the old one's connection and its waiting times.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # The server is asked for directly, whatever proxy the robot uses for the web.
    ("grpc.enable_http_proxy", 0),
]


class Deadline:
    """The moment at which a call, with all that it does over the network, must have ended."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin the `timeout` (s)."""
        self._clock = clock
        self._end = clock() + timeout

    @property
    def remaining(self) -> float:
        """Seconds until then; a millisecond at least, so that a call which comes too late fails as all do."""
        return max(1e-3, self._end - self._clock())


class Connection:
    """A server, reached when it is called.

    Attributes:
        server: HOST:PORT.
        timeout: Seconds in which the server must answer.
        generation: Counts the channels; a new one may lead to a server that has been restarted.
    """

    def __init__(self, server: str, tls: Tls | None, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self.generation = 0
        self._tls = tls
        self._client: Any = None

    def call(self, method: str, deadline: Deadline, *arguments: Any, **options: Any) -> Any:
        """Call a method of tritonclient's gRPC client, and return its answer.

        Raises ServerError if there is none before the deadline, or if it is an error.
        """
        try:
            return getattr(self.client, method)(*arguments, client_timeout=deadline.remaining, **options)
        except Exception as error:
            raise self.failure(error) from error

    @property
    def is_open(self) -> bool:
        """False before the first call, and after a failure of the channel."""
        return self._client is not None

    @property
    def client(self) -> Any:
        """The client of tritonclient, on a channel that has not failed. Raises BackendError for unusable TLS files."""
        if self._client is None:
            from tritonclient import grpc

            tls = self._tls or Tls()
            try:
                self._client = grpc.InferenceServerClient(
                    self.server,
                    ssl=self._tls is not None,
                    root_certificates=tls.ca,
                    certificate_chain=tls.certificate,
                    private_key=tls.key,
                    channel_args=_CHANNEL_ARGUMENTS,
                )
            except OSError as error:
                raise BackendError(f"a file of the TLS connection cannot be read: {error}") from error
            self.generation += 1
        return self._client

    def failure(self, error: Exception) -> BackendError:
        """Return `error` of the client in words; the channel is dropped if it may be at fault."""
        if isinstance(error, BackendError):
            return error
        status = str(getattr(error, "status", lambda: "")() or "").rpartition(".")[2]
        message = printable(str(getattr(error, "message", lambda: "")() or error), 500)
        if status == "DEADLINE_EXCEEDED" or "timeout expired" in message:  # here, or in the server's queue
            self.close()
            return ServerError(
                f"no answer from {self.server} within {self.timeout:g} s: the link is cut, or the server is stopped or "
                "overloaded; a larger device_timeout waits longer",
                status,
            )
        if status == "UNAVAILABLE" and ("connect" in message.lower() or "DNS" in message or "Socket" in message):
            self.close()
            return ServerError(
                f"{self.server} cannot be reached: see that the server runs, that device names the port of its gRPC "
                f"(8001 unless changed), and that TLS is used by both or neither ({message})",
                status,
            )
        if status in ("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"):
            self.close()
        return ServerError(f"{self.server} answers: {message}", status)

    def close(self) -> None:
        """Drop the channel; the next call makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
