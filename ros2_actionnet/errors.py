"""The exceptions of this package. Every message names the wrong value and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ActionNetError(Exception):
    """Base class of the errors that ros2_actionnet raises.

    Attributes:
        settings: names of the settings whose values are at fault; empty if that is not known.
    """

    settings: tuple[str, ...] = ()


class SettingsError(ActionNetError, ValueError):
    """Invalid value of a setting (a parameter, a keyword, a flag)."""


class NetworkError(ActionNetError):
    """Missing, inconsistent or unreadable files of a network."""


class NetworkNotFetched(NetworkError):  # noqa: N818 - nothing is wrong
    """A network of the catalogue that is not on this machine yet but can be downloaded."""


class BackendError(ActionNetError):
    """An inference backend that is not installed, cannot load a network or failed while running it."""


class ServerError(BackendError):
    """An inference server that gives no answer, or none that can be used; that may change without us.

    Attributes:
        status: Name of the gRPC status, "" if the answer itself is what cannot be used.
    """

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class LoadCancelled(ActionNetError):  # noqa: N818 - nothing went wrong
    """Cancellation of a load before the network was loaded."""


class MediaError(ActionNetError):
    """A file, camera, stream or bag that cannot be opened, read or written."""


class ImageError(ActionNetError):
    """An image whose data does not match its fields, or whose encoding is not supported."""


@contextmanager
def about(*settings: str) -> Iterator[None]:
    """Name `settings` as the ones at fault in an error that is raised in the context and names none."""
    try:
        yield
    except ActionNetError as error:
        error.settings = error.settings or settings
        raise
