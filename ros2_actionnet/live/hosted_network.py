"""A network that runs or is loading, for all streams."""

from __future__ import annotations

from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.loading import LoadedNetwork
from ros2_actionnet.settings import Settings


class HostedNetwork:
    """One network for all streams, from the moment it is prepared; its session comes once it is loaded.

    `reason` and `batch` are written before `session`, which tells other threads that all are there.

    Attributes:
        settings: The settings that it was requested with.
        network: What is known of it before it is loaded.
        session: The loaded network, None until then.
        reason: Why this backend.
        batch: Largest number of windows that are worth one inference.
    """

    def __init__(self, settings: Settings, network: PreparedNetwork) -> None:
        self.settings = settings
        self.network = network
        self.session: Session[Any] | None = None
        self.reason = ""
        self.batch = 1

    def host(self, loaded: LoadedNetwork) -> None:
        """Receive the loaded network."""
        self.reason, self.batch, self.session = loaded.reason, loaded.batch, loaded.session
