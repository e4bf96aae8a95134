"""Caches engines on disk, so that each is built once: <key>.engine, and beside it <key>.json, which is readable.

Processes may share the folder. A process that builds or removes an engine holds the lock of its key, and files are
written atomically. If the folder is read-only or full, engines still work but are rebuilt next time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ros2_actionnet.backends.tensorrt.builder import Gpu
from ros2_actionnet.load_monitor import PROGRESS_PERIOD, UNMONITORED, LoadMonitor, LoadWatch
from ros2_actionnet.system.files import file_lock, write_atomically
from ros2_actionnet.system.paths import user_path

logger = logging.getLogger(__name__)

DEFAULT_SIZE_LIMIT = 4 << 30
"""Bytes; an engine of ResNet-18 takes 65 MB in fp16 and 130 MB in fp32."""

RECIPE = 1
"""Version of the build procedure; bump it to invalidate every cached engine."""


class NotCached(Exception):  # noqa: N818 - nothing went wrong
    """An engine that is not in the cache; the message is the reason."""


class DamagedEngine(NotCached):
    """A cached engine that exists but is unusable; the message is the reason."""


@dataclass(frozen=True)
class EngineIdentity:
    """Everything that an engine depends on: two engines that agree in all of this are the same.

    Attributes:
        onnx_sha256: SHA-256 of the prepared network, in float32.
        precision: fp32, fp16 or int8.
        max_batch: largest batch of the optimization profile.
        workspace: size in bytes.
        tensorrt: name and full version.
        gpu: the GPU's name; "any" for an engine that is not bound to one.
        compute_capability: "8.7"; "any" likewise.
        hardware: what distinguishes GPUs of that name, `Gpu.hardware`; "any" likewise.
        operating_system: "Linux".
        architecture: "x86_64", "aarch64".
        recipe: see RECIPE.
    """

    onnx_sha256: str
    precision: str
    max_batch: int
    workspace: int
    tensorrt: str
    gpu: str
    compute_capability: str
    hardware: str
    operating_system: str = platform.system()
    architecture: str = platform.machine()
    recipe: int = RECIPE

    @property
    def key(self) -> str:
        """Cache key, 32 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class CachedEngine:
    """An engine as `EngineCache.engines` finds it.

    Attributes:
        key: its key.
        path: the engine's file.
        size: bytes on disk.
        used: time of the last use or the build, in seconds since 1970.
        description: content of its sidecar; empty if that cannot be read.
    """

    key: str
    path: Path
    size: int
    used: float
    description: dict[str, Any]


def default_folder() -> Path:
    """Return the default folder of engines: ACTIONNET_ENGINE_CACHE, or a folder in the user's cache folder."""
    if stated := os.environ.get("ACTIONNET_ENGINE_CACHE"):
        return user_path(stated)
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return user_path(caches) / "ros2_actionnet" / "engines"


class EngineCache:
    """The engines in a folder, which is created when the first one is stored.

    `read`, `store`, `lock` and `trim` do not raise file system errors: they are logged, or are the reason of a
    NotCached.
    """

    def __init__(self, folder: Path | str = "", size_limit: int = DEFAULT_SIZE_LIMIT) -> None:
        """Use `folder` ("" is `default_folder()`); beyond `size_limit` (bytes) the least recently used are removed."""
        self.folder = user_path(folder) if folder else default_folder()
        self.size_limit = size_limit

    def read(self, key: str, *, touch: bool = True) -> bytes:
        """Read the engine of that key, checked against its sidecar; `touch` marks it as used now.

        Raises NotCached, with the reason.
        """
        plan_path, sidecar_path = self._plan(key), self._sidecar(key)
        try:
            sidecar = json.loads(sidecar_path.read_bytes())
            stated, size = sidecar["sha256"], sidecar["size"]
            plan = plan_path.read_bytes()
        except FileNotFoundError as error:
            if plan_path.exists() or sidecar_path.exists():
                raise DamagedEngine(f"of the cached engine the file {error.filename} is missing") from error
            raise NotCached(f"there is none in {self.folder} yet") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedEngine(f"the cached engine {plan_path} cannot be read: {error}") from error
        if len(plan) != size:
            raise DamagedEngine(f"the cached engine {plan_path} is damaged: it has {len(plan)} bytes instead of {size}")
        if hashlib.sha256(plan).hexdigest() != stated:
            raise DamagedEngine(f"the cached engine {plan_path} is damaged: its sha256 is not what it was")
        if touch:
            with suppress(OSError):  # a read-only folder, in a container's image, needs no bookkeeping
                os.utime(sidecar_path)
        return plan

    def store(self, identity: EngineIdentity, plan: bytes, **notes: Any) -> None:
        """Store an engine, with `notes` in its sidecar, and make room. Call it with the key's lock held."""
        key = identity.key
        sidecar = {
            **notes,
            **asdict(identity),
            "size": len(plan),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trim(keep=key, room_for=len(plan))
            # In this order: until both are there, the engine counts as damaged.
            write_atomically(self._plan(key), plan)
            write_atomically(self._sidecar(key), json.dumps(sidecar, indent=2).encode() + b"\n")
        except OSError as error:
            with suppress(OSError):  # an incomplete pair is useless
                self._plan(key).unlink(missing_ok=True)
            logger.warning(
                "the engine cannot be kept in %s: %s. It works, but will be built again next time; free space there, "
                "or set engine_cache to another folder",
                self.folder,
                error,
            )

    @contextmanager
    def lock(self, key: str, monitor: LoadMonitor = UNMONITORED) -> Iterator[None]:
        """Hold the lock of `key`, which one process at a time can; report the waiting to `monitor`.

        Raises LoadCancelled if `monitor` cancels the load.
        """
        watch = LoadWatch(
            monitor,
            "the engine",
            lambda seconds: f"waiting for another process to build the engine, {seconds:.0f} s so far",
            PROGRESS_PERIOD,
        )
        with file_lock(self._lock(key), watch):
            yield

    def engines(self) -> list[CachedEngine]:
        """Return the engines in the cache, least recently used first. A missing folder counts as empty."""
        found = []
        for plan in sorted(self.folder.glob("*.engine")):
            sidecar = self._sidecar(plan.stem)
            with suppress(OSError):  # removed in the meantime
                size, used = plan.stat().st_size, plan.stat().st_mtime
                description: Any = None
                with suppress(OSError, ValueError):
                    used = sidecar.stat().st_mtime
                    description = json.loads(sidecar.read_bytes())
                found.append(
                    CachedEngine(plan.stem, plan, size, used, description if isinstance(description, dict) else {})
                )
        return sorted(found, key=lambda engine: engine.used)

    def remove(self, key: str) -> bool:
        """Remove an engine unless another process holds its lock; return True if gone. Raises OSError on failure."""
        with file_lock(self._lock(key)) as is_ours:
            if is_ours:
                kernels = self.folder.glob(f"{key}-*.runtime")
                for path in (self._sidecar(key), self._plan(key), *kernels, self._lock(key)):
                    path.unlink(missing_ok=True)
            return is_ours

    def trim(self, keep: str = "", room_for: int = 0) -> None:
        """Remove leftovers of killed processes, and the least recently used engines until the rest and `room_for` fit.

        The engine `keep`, and those whose locks others hold, stay.
        """
        self._remove_leftovers(keep)
        engines = [engine for engine in self.engines() if engine.key != keep]
        total = room_for + sum(engine.size for engine in engines)
        for engine in engines:
            if total <= self.size_limit:
                break
            try:
                if self.remove(engine.key):
                    logger.info("removed the engine %s, which was unused for longest, from the cache", engine.path)
                    total -= engine.size
            except OSError as error:
                logger.warning("the engine %s cannot be removed to make room: %s", engine.path, error)

    def timing_cache(self, identity: EngineIdentity) -> Path:
        """Return the file with the timings that the engine's TensorRT measured on its GPU."""
        return self.folder / f"{_gpu_file_name(identity.tensorrt, identity.gpu, identity.hardware)}.timing"

    def runtime_cache(self, key: str, gpu: Gpu) -> Path:
        """Return the file with the kernels of the engine that TensorRT for RTX compiled for `gpu`."""
        return self.folder / f"{key}-{_gpu_file_name(gpu.name, gpu.hardware)}.runtime"

    def remove_timing_caches(self) -> None:
        """Remove the timings of all GPUs. Raises OSError on failure."""
        for path in self.folder.glob("*.timing"):
            path.unlink(missing_ok=True)

    def note_refusal(self, key: str, reason: str) -> None:
        """Note in the sidecar why TensorRT refused the engine when it had just been built; "" takes that back."""
        path = self._sidecar(key)
        with suppress(OSError, ValueError, TypeError):  # without a sidecar, or a folder to write in, it is built again
            sidecar = {**json.loads(path.read_bytes()), "refused": reason}
            write_atomically(path, json.dumps(sidecar, indent=2).encode() + b"\n")

    def is_refused(self, key: str) -> bool:
        """Return True if TensorRT refused this engine when it was new, so that another one is unlikely to do."""
        with suppress(OSError, ValueError, AttributeError):
            return bool(json.loads(self._sidecar(key).read_bytes()).get("refused"))
        return False

    def _remove_leftovers(self, held: str) -> None:
        """Remove incomplete files, which only a killed process leaves; a live process holds the lock."""
        for part in self.folder.glob("*.part"):
            key = part.name.partition(".")[0]
            with nullcontext(True) if key == held else file_lock(self._lock(key)) as is_ours, suppress(OSError):
                if is_ours:
                    part.unlink(missing_ok=True)
                    if not self._plan(key).exists() and key != held:
                        self._lock(key).unlink(missing_ok=True)

    def _plan(self, key: str) -> Path:
        return self.folder / f"{key}.engine"

    def _sidecar(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _lock(self, key: str) -> Path:
        return self.folder / f"{key}.lock"


def _gpu_file_name(*parts: str) -> str:
    """Return a readable file name for one TensorRT on one kind of GPU."""
    return re.sub("[^A-Za-z0-9-]+", "_", "-".join(parts))[:200]
