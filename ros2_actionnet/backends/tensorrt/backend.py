"""TensorRT as a backend: its availability, and the loading of a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ros2_actionnet.backends.base import DEFAULT_OPTIONS, LoadOptions
from ros2_actionnet.backends.tensorrt.builder import PRECISIONS, EngineRequest, Gpu
from ros2_actionnet.backends.tensorrt.cuda import CudaContext, Driver, find_device, hardware_of, load_driver
from ros2_actionnet.backends.tensorrt.cuda_graphs import load_graph_driver
from ros2_actionnet.backends.tensorrt.engine_cache import EngineCache
from ros2_actionnet.backends.tensorrt.execution import create_execution
from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.backends.tensorrt.session import TensorRTSession
from ros2_actionnet.errors import ActionNetError, BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork

ComputeCapability = tuple[int, int]

# Compute capabilities of TensorRT for RTX: its `ComputeCapability` has 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1.
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9))
_RTX_MAJOR = 12


@dataclass(frozen=True)
class Found:
    """The components that TensorRT needs, found on this machine."""

    driver: Driver
    device: Any  # pycuda's
    gpu: Gpu
    tensorrt: TensorRT


class TensorRTBackend:
    """Loads networks with TensorRT, or TensorRT for RTX, on an NVIDIA GPU."""

    name = "tensorrt"

    def unavailable(self, device: str) -> str | None:
        """Return why TensorRT cannot be used on `device` and what to do; None if it can. Creates no CUDA context.

        The first call in a process that finds a GPU imports TensorRT, which may take a second; all others take less
        than a millisecond.
        """
        try:
            find(device)
        except BackendError as error:
            return str(error)
        return None

    def unsupported(self, device: str, precision: str) -> str | None:
        """Return why TensorRT has no such `precision`; None if it has. `unavailable` has looked for the device."""
        if precision in ("auto", *PRECISIONS):
            return None
        return f"precision {precision} is not offered under TensorRT; set it to {', '.join(PRECISIONS)} or auto"

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> TensorRTSession:
        """Load `network`; device "" is GPU 0, precision "auto" fp16 on a GPU with fast fp16, and fp32 on others.

        The engine is read from the cache, or built, which takes from seconds to minutes.

        Raises:
            BackendError: a component is missing, the precision is not offered, or TensorRT cannot load the network.
            LoadCancelled: `monitor` cancelled the load.
        """
        # Not at the top: the process that builds engines must not import this module before it runs a part of it.
        from ros2_actionnet.backends.tensorrt.engines import engine_for, identify, ready_engine

        found = find(options.device)
        precision = options.precision
        if precision == "auto":
            precision = "fp16" if _is_fast_in_fp16(found.gpu.compute_capability) else "fp32"
        max_batch = min(options.max_batch, network.max_batch or options.max_batch)
        cache = EngineCache(options.engine_cache)
        if network.is_engine:
            make_engine = partial(ready_engine, found.tensorrt, network)
            precision, key = "the precision it was built in", network.sha256
        else:
            request = EngineRequest(network, precision, max_batch)
            key = identify(found.tensorrt, request, found.gpu).key
            deserialize = found.tensorrt.deserialize
            make_engine = partial(engine_for, found.tensorrt, request, found.gpu, cache, monitor, deserialize)
        runtime_cache = cache.runtime_cache(key, found.gpu)

        def make_execution(engine: Any) -> Any | None:
            if found.tensorrt.holds_interpreter:
                monitor.progress(
                    f"starting the engine; {found.tensorrt.name} lets nothing else in this process run meanwhile, for "
                    "seconds on a small Jetson: frames may be lost"
                )
            return create_execution(found.tensorrt, engine, cuda, runtime_cache, cuda_graphs=options.cuda_graphs)

        try:
            # TensorRT for RTX captures graphs by itself.
            graph_driver = load_graph_driver() if options.cuda_graphs and not found.tensorrt.is_rtx else None
            cuda = CudaContext(found.driver, found.device)
            return TensorRTSession(
                network,
                cuda,
                make_engine,
                device=f"GPU {found.gpu.index} ({found.gpu.name})",
                precision=precision,
                max_batch=max_batch,
                make_execution=make_execution,
                graph_driver=graph_driver,
                take_error=found.tensorrt.take_error,
            )
        except ActionNetError:
            raise
        except Exception as error:  # anything that TensorRT raises
            raise BackendError(f"{found.tensorrt.name} cannot load {network.name}: {error}") from error


def find(device: str) -> Found:
    """Find the components needed to use TensorRT on `device`.

    Raises BackendError, with the first missing component and how to install it.
    """
    # The driver comes first: without a GPU, no large module is imported.
    driver = load_driver()
    handle = find_device(driver, device)
    gpu = Gpu(handle.name(), handle.compute_capability(), int(device or 0), hardware_of(driver, handle))
    tensorrt = find_tensorrt()
    if tensorrt.is_rtx and not _rtx_runs_on(gpu.compute_capability):
        raise BackendError(
            f"{tensorrt.name} does not run on {gpu.name} ({_sm(gpu.compute_capability)}), but on SM 7.5, 8.0, 8.6, 8.9 "
            "and 12.x; install TensorRT itself (docs/tensorrt.md)"
        )
    return Found(driver, handle, gpu, tensorrt)


def _is_fast_in_fp16(capability: ComputeCapability) -> bool:
    """Return True if fp16 is faster than fp32: "Throughput of Native Arithmetic Instructions", CUDA C++ guide."""
    return capability >= (5, 3) and capability != (6, 1)


def _rtx_runs_on(capability: ComputeCapability) -> bool:
    return capability in _RTX_CAPABILITIES or capability[0] == _RTX_MAJOR


def _sm(capability: ComputeCapability) -> str:
    return f"SM {capability[0]}.{capability[1]}"
