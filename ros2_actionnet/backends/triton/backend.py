"""Loads networks that run on a server."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from ros2_actionnet.backends.base import DEFAULT_OPTIONS, LoadOptions
from ros2_actionnet.backends.triton.address import Address, Tls
from ros2_actionnet.backends.triton.connection import Connection, Deadline
from ros2_actionnet.backends.triton.contract import read_served
from ros2_actionnet.backends.triton.sequences import SequenceSession
from ros2_actionnet.backends.triton.session import ServerSession, WindowSession
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork

logger = logging.getLogger(__name__)


class TritonBackend:
    """Finds networks on a server that speaks the KServe v2 protocol; `auto` never chooses it."""

    name = "triton"

    def unavailable(self, device: str) -> str | None:
        """Return why no server can be used at `device`, and what to do about it; None if one may be there."""
        if importlib.util.find_spec("tritonclient") is None or importlib.util.find_spec("grpc") is None:
            return "tritonclient is not installed (pip install 'tritonclient[grpc]')"
        try:
            Address.parse(device)
            Tls.from_environment()
        except BackendError as error:
            return str(error)
        return None

    def unsupported(self, device: str, precision: str) -> str | None:
        """Return None: what the server runs, and in which precision, is told when it is asked to load."""
        return None

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> ServerSession[Any]:
        """Compare `network` with the model at `options.device`, and return the session for the form it is served in.

        Raises ServerError if the server does not answer or its model does not fit, BackendError for options that no
        server can be used with.
        """
        address = Address.parse(options.device)
        model = address.model or network.name
        connection = Connection(address.server, Tls.from_environment(), options.timeout)
        try:
            served = read_served(connection, model, network, Deadline(options.timeout))
            if options.precision not in ("auto", served.precision):
                raise BackendError(
                    f"precision {options.precision} is not what {address.server} computes {model} in "
                    f"({served.precision}); set precision to auto, or export the network with --precision"
                )
        except BaseException:
            connection.close()
            raise
        if not served.is_stated:
            logger.warning(
                "%s on %s does not state which network it was made from: its shapes fit %s, its weights and labels "
                "could not be compared; write it with `actionnet-networks export` to have them compared",
                model,
                address.server,
                network.name,
            )
        kind: type[ServerSession[Any]] = SequenceSession if served.form == "stateful" else WindowSession
        return kind(network, connection, model, served, options.max_batch)
