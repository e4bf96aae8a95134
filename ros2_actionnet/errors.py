"""The one exception tree. Every message names the value that was wrong and what to do about it."""


class ActionNetError(Exception):
    """Anything that ros2_actionnet refuses or cannot do."""


class SettingsError(ActionNetError, ValueError):
    """A setting (a parameter, a keyword, a flag) has a value that cannot be used."""


class NetworkError(ActionNetError):
    """A network's files are missing, do not fit together or cannot be understood."""


class NetworkNotFetched(NetworkError):  # noqa: N818 - nothing is wrong
    """A network of the catalogue is not on this machine yet, but can be downloaded."""


class BackendError(ActionNetError):
    """An inference backend is not installed, cannot load a network or failed while running it."""


class LoadCancelled(ActionNetError):  # noqa: N818 - nothing went wrong
    """A network is not wanted any more, before it was loaded."""


class MediaError(ActionNetError):
    """A file, camera, stream or bag cannot be opened, read or written."""


class ImageError(ActionNetError):
    """An image's bytes do not fit its fields, or its encoding is not understood."""
