"""From a prepared network to an executable engine: from the cache, or built and stored there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ros2_actionnet.backends.tensorrt.build_process import build_engine
from ros2_actionnet.backends.tensorrt.builder import EngineRequest, Gpu, portable
from ros2_actionnet.backends.tensorrt.engine_cache import DamagedEngine, EngineCache, EngineIdentity, NotCached
from ros2_actionnet.backends.tensorrt.library import TensorRT
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import LoadMonitor
from ros2_actionnet.networks import PreparedNetwork

__all__ = ["EngineRequest", "Gpu", "build_engine", "engine_for", "identify", "ready_engine"]

logger = logging.getLogger(__name__)

Deserialize = Callable[[bytes], Any | None]


def engine_for(
    tensorrt: TensorRT,
    request: EngineRequest,
    gpu: Gpu | None,
    cache: EngineCache,
    monitor: LoadMonitor,
    deserialize: Deserialize,
) -> Any:
    """Return the deserialized engine of `request` for `gpu`; if it is not in the cache, build it and store it there.

    Args:
        tensorrt: the TensorRT that builds the engine.
        request: the network and the build settings.
        gpu: the target GPU; None only for engines that are not bound to one, those of TensorRT for RTX.
        cache: the cache of engines.
        monitor: receives the progress and can cancel.
        deserialize: returns the engine of a plan, or None if this TensorRT and GPU cannot load it.

    Raises:
        BackendError: the engine cannot be built, or cannot be deserialized although it was built here for this GPU; it
            is then not built again.
        NetworkError: the network cannot be rewritten for this TensorRT.
        LoadCancelled: `monitor` cancelled the load.
    """
    identity = identify(tensorrt, request, gpu)
    # Other loads of the same engine wait here, and then find it in the cache.
    with cache.lock(identity.key, monitor):
        level = logging.WARNING
        try:
            engine = deserialize(cache.read(identity.key))
            was_refused = cache.is_refused(identity.key)
            if engine is not None:
                if was_refused:
                    cache.note_refusal(identity.key, "")
                return engine
            if was_refused:
                raise _refused(tensorrt, request, identity.key)
            why = f"the cached one was refused ({_reason(tensorrt)})"
        except DamagedEngine as error:
            why = str(error)
        except NotCached as error:
            level, why = logging.INFO, str(error)
        logger.log(
            level,
            "building the engine of %s, %s, with %s for %s: %s",
            request.network.name,
            request.precision,
            tensorrt.name,
            "any GPU" if identity.gpu == "any" else identity.gpu,
            why,
        )
        started = time.monotonic()
        timing_cache = cache.timing_cache(identity)
        plan = build_engine(tensorrt, request, monitor, timing_cache, gpu)
        seconds = round(time.monotonic() - started, 1)
        logger.info("built the engine of %s in %s s", request.network.name, seconds)
        cache.store(identity, plan, network=request.network.name, model=_origin(request), build_seconds=seconds)
        engine = deserialize(plan)
        if engine is None:
            cache.note_refusal(identity.key, _reason(tensorrt))
            raise _refused(tensorrt, request, identity.key)
    return engine


def ready_engine(tensorrt: TensorRT, network: PreparedNetwork) -> Any:
    """Return the deserialized engine of a network that is one. Raises BackendError if TensorRT cannot load it here."""
    try:
        plan = network.spec.model.read_bytes()
    except OSError as error:
        raise BackendError(f"the engine {network.spec.model} cannot be read: {error.strerror or error}") from error
    engine = tensorrt.deserialize(plan)
    if engine is None:
        raise BackendError(
            f"{tensorrt.name} cannot load the engine {network.spec.model}: "
            f"{_reason(tensorrt)}. An engine runs with the version of TensorRT and "
            "on the kind of GPU that it was built for; set `model` to the .onnx file that it was built from"
        )
    return engine


def _reason(tensorrt: TensorRT) -> str:
    return tensorrt.logger.last_error or "it does not say why"


def _refused(tensorrt: TensorRT, request: EngineRequest, key: str) -> BackendError:
    return BackendError(
        f"{tensorrt.name} cannot load the engine of {request.network.name} that it has built here: "
        f"{_reason(tensorrt)}; free memory on the GPU, and see whether the driver is new enough for this TensorRT. The "
        f"next load tries the same engine; to build another, actionnet-engine remove {key[:12]}"
    )


def identify(tensorrt: TensorRT, request: EngineRequest, gpu: Gpu | None) -> EngineIdentity:
    """Return everything that the engine of `request` depends on.

    Raises BackendError if it would depend on a GPU and there is none.
    """
    if portable(tensorrt, gpu):
        name = capability = hardware = "any"
    elif gpu is None:
        raise BackendError(
            f"an engine of {tensorrt.name} can be built only on the GPU that it is to run on, and none is given"
        )
    else:
        name, capability, hardware = gpu.name, ".".join(map(str, gpu.compute_capability)), gpu.hardware
    return EngineIdentity(
        onnx_sha256=request.network.sha256,
        precision=request.precision,
        max_batch=request.max_batch,
        workspace=request.workspace,
        tensorrt=tensorrt.name,
        gpu=name,
        compute_capability=capability,
        hardware=hardware,
    )


def _origin(request: EngineRequest) -> str:
    return str(Path(request.network.spec.model).absolute())
