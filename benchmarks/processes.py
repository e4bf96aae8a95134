"""Processes under measurement: started where they alone meet, with what they cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).absolute().parent
IMAGE_TOPIC = "image"
"""Of the camera, relative to the namespace of the place."""

# What would make DDS or malloc other than they come. A profile for the camera is an option of the benchmarks.
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # until Jazzy, and from Kilted on
_NOT_STOCK = (*_PROFILES, "RMW_FASTRTPS_USE_QOS_FROM_XML")
_numbers = count(os.getpid())


@dataclass(frozen=True)
class Place:
    """Where the processes of one run meet, and nobody else: others on the machine may happen to use the same domain."""

    domain: int
    namespace: str

    @classmethod
    def unused(cls) -> Place:
        """One that no run before used; domains 2 to 99, as the ports of those above 101 may be the system's."""
        number = next(_numbers)
        return cls(2 + number % 98, f"/benchmark_{os.getpid()}_{number}")


@dataclass(frozen=True)
class CpuTimes:
    """CPU time that a process has used (s), by what its threads do."""

    main: float  # the thread that spins in ROS
    dds: float  # the middleware's threads
    others: float  # the worker and the inference library

    @property
    def total(self) -> float:
        """Of all threads."""
        return self.main + self.dds + self.others

    def since(self, earlier: CpuTimes) -> CpuTimes:
        """What was used since `earlier`."""
        return CpuTimes(self.main - earlier.main, self.dds - earlier.dds, self.others - earlier.others)

    def per(self, frames: int) -> CpuTimes:
        """What each of `frames` cost."""
        frames = max(1, frames)
        return CpuTimes(self.main / frames, self.dds / frames, self.others / frames)


@dataclass(frozen=True)
class Memory:
    """Memory of a process in bytes: resident; shared pages divided by their users; what its end would free."""

    rss: int
    pss: int
    uss: int


class MeasuredProcess:
    """A Python program in a process of its own; used as a context manager, which ends it."""

    def __init__(self, command: Sequence[str], place: Place, profile: Path | None = None) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_STOCK and not k.startswith("MALLOC_")}
        environment["ROS_DOMAIN_ID"] = str(place.domain)
        if profile is not None:
            environment |= dict.fromkeys(_PROFILES, str(profile.absolute()))
        self._process = subprocess.Popen(
            [sys.executable, *command, "--ros-args", "-r", f"__ns:={place.namespace}"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._watched = psutil.Process(self._process.pid)
        self._rest: str | None = None  # what it printed that was not read, once it has ended

    def __enter__(self) -> MeasuredProcess:
        """The process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, however the block ended."""
        self.stop()

    def cpu(self) -> CpuTimes:
        """CPU time used so far. Threads that have ended count as others."""
        main = dds = 0.0
        for thread in self._watched.threads():
            used = thread.user_time + thread.system_time
            if thread.id == self._watched.pid:
                main = used
            elif self._name(thread.id).startswith("dds."):
                dds += used
        times = self._watched.cpu_times()
        return CpuTimes(main, dds, times.user + times.system - main - dds)

    def memory(self) -> Memory:
        """Memory in use now."""
        info = self._watched.memory_full_info()
        return Memory(info.rss, info.pss, info.uss)

    def read(self) -> dict[str, Any]:
        """The next line that it prints, which is JSON. Raises RuntimeError if it ends without one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with exit code {self._process.wait()}; see above for why")
        result: dict[str, Any] = json.loads(line)
        return result

    def check(self) -> None:
        """Raises RuntimeError if the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args!r} ended with exit code {self._process.returncode}; see above")

    def stop(self) -> str:
        """Ends it as Ctrl-C does; what it printed that was not read. May be called twice."""
        if self._rest is None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            try:
                self._rest, _ = self._process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._rest, _ = self._process.communicate()
        return self._rest

    def result(self) -> dict[str, Any]:
        """Ends it; the last line that it printed, which is JSON."""
        lines = self.stop().splitlines()
        if not lines:
            raise RuntimeError(f"{self._process.args!r} printed nothing; see above for why")
        counts: dict[str, Any] = json.loads(lines[-1])
        return counts

    def _name(self, thread: int) -> str:
        try:
            return Path(f"/proc/{self._watched.pid}/task/{thread}/comm").read_text(encoding="utf-8")
        except OSError:  # it has just ended
            return ""


def actionnet_command(**parameters: object) -> list[str]:
    """The command of our node with these parameters."""
    command = ["-m", "ros2_actionnet.ros.main", "--ros-args", "--log-level", "warn"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return command


def camera_command(
    size: tuple[int, int], seconds: float, rate: float, reliability: str, clip: Path | None
) -> list[str]:
    """The command of the camera that plays for `seconds`."""
    command = [str(HERE / "camera.py"), "--size", f"{size[0]}x{size[1]}", "--seconds", str(seconds)]
    command += ["--rate", str(rate), "--reliability", reliability]
    return [*command, "--clip", str(clip)] if clip is not None else command


def receiver_command(*options: str) -> list[str]:
    """The command of the bare subscriber."""
    return [str(HERE / "receiver.py"), *options]
