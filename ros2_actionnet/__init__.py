"""Action recognition on robots: a ROS 2 node, and the Python class `ActionNet` that needs no ROS."""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ros2_actionnet.action_net import ActionNet
    from ros2_actionnet.errors import (
        ActionNetError,
        BackendError,
        ImageError,
        LoadCancelled,
        MediaError,
        NetworkError,
        NetworkNotFetched,
        ServerError,
        SettingsError,
    )
    from ros2_actionnet.images.raw_image import RawImage
    from ros2_actionnet.recognition.prediction import ClassScore, Prediction
    from ros2_actionnet.settings import Settings

# In a source checkout that is built elsewhere, the generated messages (ros2_actionnet.msg) lie in the install space.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

__all__ = [
    "ActionNet",
    "ActionNetError",
    "ActionStream",
    "BackendError",
    "ClassScore",
    "ImageError",
    "LoadCancelled",
    "MediaError",
    "NetworkError",
    "NetworkNotFetched",
    "Prediction",
    "RawImage",
    "ServerError",
    "Settings",
    "SettingsError",
    "__version__",
]

# Where each public name is defined. It is imported when it is first asked for, so that `import ros2_actionnet.msg`
# loads none of the core.
_MODULES = {
    "ActionNet": "action_net",
    "ActionNetError": "errors",
    "ActionStream": "action_net",
    "BackendError": "errors",
    "ClassScore": "recognition.prediction",
    "ImageError": "errors",
    "LoadCancelled": "errors",
    "MediaError": "errors",
    "NetworkError": "errors",
    "NetworkNotFetched": "errors",
    "Prediction": "recognition.prediction",
    "RawImage": "images.raw_image",
    "ServerError": "errors",
    "Settings": "settings",
    "SettingsError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use. Raises AttributeError for any other."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
