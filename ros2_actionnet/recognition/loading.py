"""The parts of the settings that say which network is loaded, and how."""

from __future__ import annotations

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.networks import NetworkRequest
from ros2_actionnet.settings import Settings


def network_request(settings: Settings) -> NetworkRequest:
    """The part of `settings` that says which network."""
    return NetworkRequest(settings.network, settings.model, settings.labels, settings.input_blob, settings.output_blob)


def load_options(settings: Settings) -> LoadOptions:
    """The part of `settings` that says how the network is loaded."""
    return LoadOptions(settings.device, settings.precision, engine_cache=settings.engine_cache)
