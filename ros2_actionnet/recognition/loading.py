"""The one way to load a network: obtain it, prepare it, choose a backend, load and warm it up.

The class, the command, the node and the tools all load by `load`; they differ in the monitor that they pass, and in
where the model is prepared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ros2_actionnet.backends import Choice, LoadOptions, Session, choose_backend
from ros2_actionnet.errors import ActionNetError, BackendError, LoadCancelled, about
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, end_if_cancelled
from ros2_actionnet.networks import (
    NetworkRequest,
    PreparedNetwork,
    check_request,
    has_accepted_int8,
    obtain,
    prepare,
)
from ros2_actionnet.networks.normalization import remark
from ros2_actionnet.networks.prepare_process import prepare_in_process
from ros2_actionnet.recognition.batch_choice import best_batch, seconds_per_inference
from ros2_actionnet.recognition.score_check import check_scores, score_window
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.allocator import give_back_free_memory

logger = logging.getLogger(__name__)

Prepare = Callable[[NetworkRequest, LoadMonitor], AbstractContextManager[PreparedNetwork]]
"""Obtains and prepares a network; its model exists until the context ends."""

Choose = Callable[[str, str], Choice]
"""Chooses a backend by its name and device, as `choose_backend` does."""


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network that is ready to run, the reason for its backend, and how many windows are worth one inference."""

    session: Session[Any]
    reason: str
    batch: int = 1


def network_request(settings: Settings) -> NetworkRequest:
    """The part of `settings` that says which network."""
    return NetworkRequest(
        settings.network,
        settings.model,
        settings.labels,
        settings.input_blob,
        settings.output_blob,
        settings.scores,
        settings.precision,
    )


def load_options(settings: Settings, max_batch: int | None = None) -> LoadOptions:
    """The part of `settings` that says how the network is loaded; `max_batch` overrides theirs."""
    batch = settings.largest_batch if max_batch is None else max_batch
    return LoadOptions(
        settings.device,
        settings.precision,
        batch,
        settings.engine_cache,
        cuda_graphs=settings.cuda_graphs,
        timeout=settings.device_timeout,
    )


def check_change(before: Settings, after: Settings) -> None:
    """Raise the error, known within milliseconds, that keeps the network of `after` from being loaded.

    What the change leaves as it was is not its fault: a wrong `labels` may be corrected before a wrong `model`.
    """
    try:
        check_request(network_request(after))
        choice = choose_backend(after.backend, after.device)
        runs_on = ("backend", "device", "precision")
        if any(getattr(before, name) != getattr(after, name) for name in runs_on):
            with about(*runs_on):
                if reason := choice.backend.unsupported(after.device, after.precision):
                    raise BackendError(reason)
    except ActionNetError as error:
        if not error.settings or any(getattr(before, name) != getattr(after, name) for name in error.settings):
            raise


@contextmanager
def prepared_here(request: NetworkRequest, monitor: LoadMonitor) -> Iterator[PreparedNetwork]:
    """Yield the network, prepared in this process, whose other threads wait meanwhile.

    Raises NetworkError and LoadCancelled as `obtain` and `prepare` do.
    """
    yield prepare(obtain(request, monitor))


@contextmanager
def prepared_in_process(request: NetworkRequest, monitor: LoadMonitor) -> Iterator[PreparedNetwork]:
    """Yield the network, prepared in a process of its own, so that this one goes on receiving images.

    Raises NetworkError and LoadCancelled as `obtain` and `prepare_in_process` do.
    """
    with prepare_in_process(obtain(request, monitor), monitor) as network:
        yield network


def load(
    settings: Settings,
    monitor: LoadMonitor = UNMONITORED,
    on_prepared: Callable[[PreparedNetwork], None] = lambda network: None,
    *,
    prepare: Prepare = prepared_here,
    choose: Choose = choose_backend,
) -> LoadedNetwork:
    """Load the network of `settings` and check its scores; nothing keeps the bytes of its model afterwards.

    A mean that is assumed, because nothing states it, is logged as a warning, and one that is converted.

    Args:
        settings: which network, and what to run it on.
        monitor: receives the progress and can cancel.
        on_prepared: receives the network, without its model, before the slow part; what it raises ends the load. It is
            called again if the network has to be loaded with other `scores` than were read from its graph.
        prepare: where the model is prepared.
        choose: chooses the backend.

    Raises:
        NetworkError: the network cannot be obtained or prepared.
        BackendError: no backend can be used, or the network cannot be loaded or run.
        LoadCancelled: `monitor` cancelled the load.
    """
    request, options = network_request(settings), load_options(settings)

    def load_once(
        request: NetworkRequest, options: LoadOptions, on_prepared: Callable[[PreparedNetwork], None] = on_prepared
    ) -> LoadedNetwork:
        with prepare(request, monitor) as network:
            end_if_cancelled(monitor, network.name)
            choice = _choice_for(network, settings, choose)
            # The bytes of the model (134 MB for a ResNet-18) are not needed once it is loaded.
            described = replace(network, model=b"", file=None)
            on_prepared(described)
            session: Session[Any] = choice.backend.load(network, options, monitor)
        session.network = described
        return LoadedNetwork(session, choice.reason)

    loaded = load_once(request, options)
    if warning := remark(loaded.session.network.spec):
        logger.warning(warning)
    give_back_free_memory()
    session = loaded.session
    try:
        warm_up(session)
        session = check_scores(session, lambda kind: load_once(replace(request, scores=kind), options).session)
        if settings.precision == "auto":
            int8 = replace(request, precision="int8"), replace(options, precision="int8")
            session = _faster_of(session, lambda: load_once(*int8, on_prepared=lambda network: None).session)
        batch = best_batch(session)
    except BaseException:
        session.close()
        raise
    return replace(loaded, session=session, batch=batch)


def _faster_of(session: Session[Any], load_int8: Callable[[], Session[Any]]) -> Session[Any]:
    """Return `session` or that of its network's int8 model, whichever is measured faster; the other is closed.

    An int8 model that was not judged well enough is not tried. Raises LoadCancelled as `load_int8` does.
    """
    name = session.network.name
    try:
        if not has_accepted_int8(session.network.spec):
            return session
        candidate = load_int8()
    except LoadCancelled:
        raise
    except ActionNetError as error:
        logger.warning("the int8 model of network %s is not used: %s", name, error)
        return session
    try:
        warm_up(candidate)
        seconds, int8_seconds = seconds_per_inference(session), seconds_per_inference(candidate)
    except BackendError as error:
        candidate.close()
        logger.warning("the int8 model of network %s is not used: %s", name, error)
        return session
    except BaseException:
        candidate.close()
        raise
    logger.info(
        "%s: a window takes %.1f ms in int8 and %.1f ms in %s here, so %s is used",
        name, int8_seconds * 1e3, seconds * 1e3, session.precision,
        "int8" if int8_seconds < seconds else session.precision,
    )  # fmt: skip
    faster, slower = (candidate, session) if int8_seconds < seconds else (session, candidate)
    slower.close()
    return faster


def _choice_for(network: PreparedNetwork, settings: Settings, choose: Choose) -> Choice:
    """Choose the backend of `settings`; `auto` for a model that only one backend reads is that one."""
    if settings.backend == "auto" and network.is_engine:
        return replace(choose("tensorrt", settings.device), reason="tensorrt (the model is an engine of it)")
    if settings.backend != "auto" or network.conversion is None:
        return choose(settings.backend, settings.device)
    return replace(choose("openvino", settings.device), reason="openvino (the model is in its IR)")


def warm_up(session: Session[Any]) -> None:
    """Run one inference, so that the first real one does not pay for what a library puts off until then.

    Raises BackendError if the network cannot be run.
    """
    network = session.network
    blank = np.zeros((network.frames, network.height, network.width, 3), np.uint8)
    score_window(session, session.create_ring(), blank)
