"""Action recognition on robots: a ROS 2 node, and the Python class `ActionNet` that needs no ROS."""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ros2_actionnet.errors import (
        ActionNetError,
        BackendError,
        ImageError,
        MediaError,
        NetworkError,
        SettingsError,
    )
    from ros2_actionnet.recognition.window_classifier import ActionNet, ClassScore, Prediction

# In a source checkout that is built elsewhere, the generated messages (ros2_actionnet.msg) lie in the install space.
__path__ = extend_path(__path__, __name__)

__all__ = [
    "ActionNet",
    "ActionNetError",
    "BackendError",
    "ClassScore",
    "ImageError",
    "MediaError",
    "NetworkError",
    "Prediction",
    "SettingsError",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: `import ros2_actionnet.msg` needs none of the core."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "errors" if name.endswith("Error") else "classifier"
    return getattr(import_module(f"{__name__}.{module}"), name)
