"""The node's health as a diagnostic_msgs status: one line on the worst problem, and the numbers behind it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.utilities import get_rmw_implementation_identifier

from ros2_actionnet.live.inference_rounds import WorkerStatus
from ros2_actionnet.live.inference_worker import InferenceWorker
from ros2_actionnet.live.stream import Classified, Stream, StreamStatus
from ros2_actionnet.networks.normalization import assumption
from ros2_actionnet.ros.camera_subjects import CameraSubjects, SubjectsHealth
from ros2_actionnet.ros.fastdds import loss_remedy, silence_cause
from ros2_actionnet.ros.image_intake import ImageIntake
from ros2_actionnet.ros.image_subscription import ImageSubscription
from ros2_actionnet.system.text import printable

SILENCE = 5.0
"""Seconds without an image after which the camera counts as silent."""

RECENT = 10
"""Looks, of about a second each, over which restarts are counted."""

LATE_WORTH_REPORTING = 10
"""Late images above this count, without a classification between them, are reported."""

LOST_WORTH_REPORTING = 10
"""Images lost by the middleware above this count are reported."""


_MESSAGE_LIMIT = 2000
"""Longest text in a status, in characters: a library's message or a list of publishers may have any length."""


class Level(Enum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Health:
    """The state of the node at one moment; counts are since it was configured, rates over the last second.

    With one camera it is in the same status as the node; of several, each has a status of its own (`camera`).
    """

    state: str = "unconfigured"  # of the lifecycle
    worker: WorkerStatus | None = None
    camera: str = ""  # the camera that this is about, "" for the only one, or for what all of them share
    stream: StreamStatus | None = None
    subjects: SubjectsHealth | None = None
    topic: str = ""
    reliability: str = ""
    publishers: tuple[str, ...] = ()
    topic_problem: str = ""  # why what is published on the topic cannot be subscribed to
    advice: str = ""  # what to type so that images come, while none does
    silent_for: float = 0.0  # s since the last image, or since activation
    received: int = 0
    rejected: int = 0
    lost: int = 0
    late: int = 0  # left out, because their stamps did not go on from those before
    stamps_are_stuck: bool = False  # the images' stamps do not change, so that arrivals are used
    restarts: int = 0
    restart_reason: str = ""
    rate_in: float = 0.0  # Hz
    rate_out: float = 0.0  # Hz
    restarts_without_result: int = 0  # windows emptied one after the other, before one of them could be classified
    restarts_recently: int = 0
    late_without_result: int = 0  # late images since the last classification
    lost_recently: int = 0
    inference: float = 0.0  # s, mean
    latency: float = 0.0  # s, mean, from an image's arrival to its classification
    fallback_reason: str = ""  # why the fallback network runs, "" if it does not
    last_error: str = ""  # of the network or the worker
    camera_error: str = ""
    name: str = ""  # of the node, fully qualified
    duplicate_names: int = 0  # other nodes of that name


class CameraMonitor:
    """Watches one camera: `look` is meant to be called about once a second, from one thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_error = ""
        self._activated = self._looked = time.monotonic()
        self._counts = (0, 0, 0, 0, 0)  # received, classified, restarts, lost and late when looked at last
        self._restarts_without_result = self._late_without_result = 0
        self._restarts: deque[int] = deque(maxlen=RECENT)  # in each of the last looks
        self._times: deque[tuple[float, float]] = deque(maxlen=100)  # s, inference and latency

    def activated(self) -> None:
        """Silence counts from now."""
        self._activated = time.monotonic()

    def classified(self, result: Classified) -> None:
        """Takes note of what a classification took."""
        self._times.append((result.inference, result.latency))

    def look(
        self,
        health: Health,
        stream: Stream,
        intake: ImageIntake,
        subscription: ImageSubscription | None,
        subjects: CameraSubjects | None = None,
    ) -> Health:
        """Return `health`, which is the node's, with this camera's, and rates since the last call."""
        now = time.monotonic()
        health = replace(
            health,
            camera=self.name,
            stream=stream.status(),
            subjects=subjects.health() if subjects is not None else None,
            camera_error=self.last_error,
            received=intake.received,
            rejected=intake.rejected,
            late=intake.sampler.late,
            stamps_are_stuck=intake.clock.is_stuck,
            restarts=intake.restarts,
            restart_reason=intake.restart_reason,
        )
        if subscription is not None:
            silent_for = now - max(self._activated, intake.last_arrival)
            health = replace(
                health,
                topic=subscription.topic,
                topic_problem=subscription.problem,
                reliability=subscription.reliability,
                publishers=subscription.publishers,
                advice=subscription.advice() if silent_for > SILENCE else "",
                lost=subscription.lost,
                silent_for=silent_for,
            )
        return self._with_rates(health, now)

    def _with_rates(self, health: Health, now: float) -> Health:
        classified_so_far = health.stream.classified if health.stream else 0
        counts = (health.received, classified_so_far, health.restarts, health.lost, health.late)
        received, classified, restarts, lost, late = (
            max(0, new - old) for new, old in zip(counts, self._counts, strict=True)
        )
        self._restarts.append(restarts)
        self._restarts_without_result = 0 if classified else self._restarts_without_result + restarts
        self._late_without_result = 0 if classified else self._late_without_result + late
        elapsed = max(now - self._looked, 1e-3)
        self._counts, self._looked = counts, now
        times = list(self._times)
        count = max(1, len(times))
        return replace(
            health,
            rate_in=received / elapsed,
            rate_out=classified / elapsed,
            restarts_without_result=self._restarts_without_result,
            restarts_recently=sum(self._restarts),
            late_without_result=self._late_without_result,
            lost_recently=lost,
            inference=sum(inference for inference, _ in times) / count,
            latency=sum(latency for _, latency in times) / count,
        )


class HealthMonitor:
    """Watches the node, over all its configurations.

    Attributes:
        last_error: what went wrong last with the network or the worker.
    """

    def __init__(self) -> None:
        self.last_error = ""
        self._cameras: dict[str, CameraMonitor] = {}

    def camera(self, name: str) -> CameraMonitor:
        """Return the monitor of camera `name`, "" for the only one."""
        return self._cameras.setdefault(name, CameraMonitor(name))

    def look(self, state: str, worker: InferenceWorker | None) -> Health:
        """Return the health of what all cameras share."""
        return Health(state=state, last_error=self.last_error, worker=worker.status() if worker else None)


def summary(health: Health) -> tuple[Level, str]:
    """Return the worst problem of `health`, with its remedy."""
    worker = health.worker
    if health.duplicate_names:
        return Level.WARN, (
            f"{health.duplicate_names + 1} nodes are called {health.name}: services and parameters reach one of them "
            "at random; give each its own name (-r __node:=...) or namespace"
        )
    if worker is None or health.state != "active":
        return (Level.ERROR, health.last_error) if health.last_error else (Level.OK, health.state)
    if worker.failing:
        return Level.ERROR, f"inference fails: {health.last_error}"
    if worker.running is None:
        if worker.loading:
            return Level.WARN, _loading(worker)
        return Level.ERROR, f"no network: {health.last_error}"
    if health.fallback_reason:
        return Level.WARN, f"{worker.running.network.name} runs as the fallback network: {health.fallback_reason}"
    for complaint in complaints(health):
        return Level.WARN, complaint.text
    stream = health.stream
    if stream is not None and stream.fill < stream.frames:
        return Level.OK, f"filling the window, {stream.fill} of {stream.frames} frames"
    doing = f"classifying with {worker.running.network.name}"
    if worker.loading:
        return Level.OK, f"{doing}, {_loading(worker)}"
    filter_problem = stream.filter_problem if stream is not None else ""
    if warning := filter_problem or assumption(worker.running.network.spec):
        return Level.WARN, f"{doing}, but {warning}"
    return Level.OK, doing


def _loading(worker: WorkerStatus) -> str:
    return f"loading {worker.loading}" + (f": {worker.progress}" if worker.progress else "")


@dataclass(frozen=True)
class Complaint:
    """Return what is wrong with the images, and the remedy."""

    kind: str
    text: str
    again_after: float = 30.0  # s; a log need not say it before


def complaints(health: Health) -> Iterator[Complaint]:
    """Yield what is wrong with the images at this moment, the worst first."""
    if health.lost >= LOST_WORTH_REPORTING and health.lost_recently:
        text = f"{health.lost} images on {health.topic} were lost on their way here ({health.reliability} QoS)"
        yield Complaint("losses", f"{text}: {loss_remedy(get_rmw_implementation_identifier())}", math.inf)
    if health.topic_problem:
        yield Complaint("type", f"{health.topic} cannot be read: {health.topic_problem}")
    elif health.silent_for > SILENCE:
        yield Complaint("silence", _silence(health))
    if health.subjects is not None and health.topic:
        yield from _of_subjects(health.subjects)
    if len(health.publishers) > 1:
        text = f"{len(health.publishers)} publishers mix their frames on {health.topic}: {_join(health.publishers)}"
        yield Complaint("publishers", f"{text}; stop all but one, or remap them apart")
    # With warmup=repeat, or between two restarts, there are results, but fewer or of worse windows.
    if health.restarts_without_result > 2 or health.restarts_recently > 2:
        text = f"the window is emptied again and again: {health.restart_reason}"
        yield Complaint("restarts", f"{text}; see whether the images' stamps are right, or raise max_gap")
    if health.late_without_result > LATE_WORTH_REPORTING:
        text = f"{health.late_without_result} images on {health.topic} were left out"
        reason = "their stamps do not go on from those before"
        yield Complaint("late", f"{text}: {reason}; see whether two cameras share the topic or the stamps are wrong")
    if health.stamps_are_stuck:
        text = f"the stamps of the images on {health.topic} do not change, so that their arrival counts"
        yield Complaint("stamps", f"{text}; see whether the camera's driver stamps its images", math.inf)


def _of_subjects(subjects: SubjectsHealth) -> Iterator[Complaint]:
    if subjects.problem:
        yield Complaint("detections", subjects.problem)
    elif not subjects.publishers:
        yield Complaint(
            "detections",
            f"no detections on {subjects.topic}: nobody publishes there; remap detections to the detector's topic "
            "(detections_topic:=... in the launch file)",
        )
    elif subjects.received and subjects.late > LATE_WORTH_REPORTING and subjects.late * 2 > subjects.received:
        yield Complaint(
            "detections",
            f"{subjects.late} of {subjects.received} detections on {subjects.topic} came after their image had gone; "
            "raise detection_delay",
        )


def _silence(health: Health) -> str:
    since = f"no image on {health.topic} for {health.silent_for:.0f} s"
    if health.advice:
        return f"{since}: {health.advice}"
    if not health.publishers:
        return (
            f"{since}: nobody publishes there; remap image to the camera's topic (image_topic:=... in the launch file)"
        )
    if cause := silence_cause(get_rmw_implementation_identifier()):
        cause = f". If it does: {cause}"
    return (
        f"{since} from {_join(health.publishers)}, subscribed {health.reliability}; see whether the camera runs "
        f"(ros2 topic hz {health.topic}){cause}"
    )


def status_message(health: Health) -> DiagnosticStatus:
    """`health` as a DiagnosticStatus."""
    level, message = summary(health)
    return DiagnosticStatus(
        level=bytes([level.value]),
        name=f"{health.name}: {f'camera {health.camera}' if health.camera else 'action recognition'}",
        message=printable(message, _MESSAGE_LIMIT),
        values=[KeyValue(key=key, value=printable(value, _MESSAGE_LIMIT)) for key, value in _values(health)],
    )


def _values(health: Health) -> Iterable[tuple[str, str]]:
    yield "state", health.state
    worker = health.worker
    if worker is not None:
        running = worker.running
        if running is not None:
            yield "network", running.network.name
            yield "mean and std", running.network.spec.mean_from or "assumed"
            yield "backend", f"{running.backend} {running.device} {running.precision}"
            yield "backend chosen", running.reason
        yield "loading", worker.loading
        yield "loading progress", worker.progress
        yield "inferences", str(worker.inferences)
        yield "inferences failed", str(worker.failed)
    if health.stream is not None:
        yield from _camera_values(health, health.stream)
    if health.subjects is not None:
        yield from _subject_values(health.subjects)
    yield "last error", health.camera_error or health.last_error


def _subject_values(subjects: SubjectsHealth) -> Iterable[tuple[str, str]]:
    yield "detections topic", subjects.topic
    yield "detections received", str(subjects.received)
    yield "detections late", str(subjects.late)
    yield "images without detections", str(subjects.unmatched)
    yield "images waiting (MB)", f"{subjects.waiting_bytes / 1e6:.1f}"
    yield "subjects", str(subjects.subjects)
    yield "subjects left out", str(subjects.left_out)


def _camera_values(health: Health, stream: StreamStatus) -> Iterable[tuple[str, str]]:
    yield "window fill", f"{stream.fill}/{stream.frames}"
    yield "frames sampled", str(stream.sampled)
    yield "classifications", str(stream.classified)
    yield "inferences overtaken", str(stream.overtaken)
    yield "thumbnails overrun", str(stream.overrun)
    yield "image topic", health.topic
    yield "image publishers", _join(health.publishers)
    yield "image QoS", health.reliability
    yield "frames received", str(health.received)
    yield "frames rejected", str(health.rejected)
    yield "frames lost by the middleware", str(health.lost)
    yield "frames late", str(health.late)
    yield "windows restarted", str(health.restarts)
    yield "last restart", health.restart_reason
    yield "rate in (Hz)", f"{health.rate_in:.1f}"
    yield "rate out (Hz)", f"{health.rate_out:.1f}"
    yield "inference (ms)", f"{health.inference * 1e3:.1f}"
    yield "latency (ms)", f"{health.latency * 1e3:.1f}"


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
