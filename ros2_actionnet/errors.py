"""The exceptions of this package. Every message names the wrong value and what to do about it."""


class ActionNetError(Exception):
    """Base class of the errors that ros2_actionnet raises."""


class SettingsError(ActionNetError, ValueError):
    """Invalid value of a setting (a parameter, a keyword, a flag)."""


class NetworkError(ActionNetError):
    """Missing, inconsistent or unreadable files of a network."""


class NetworkNotFetched(NetworkError):  # noqa: N818 - nothing is wrong
    """A network of the catalogue that is not on this machine yet but can be downloaded."""


class BackendError(ActionNetError):
    """An inference backend that is not installed, cannot load a network or failed while running it."""


class LoadCancelled(ActionNetError):  # noqa: N818 - nothing went wrong
    """Cancellation of a load before the network was loaded."""


class MediaError(ActionNetError):
    """A file, camera, stream or bag that cannot be opened, read or written."""


class ImageError(ActionNetError):
    """An image whose data does not match its fields, or whose encoding is not supported."""
