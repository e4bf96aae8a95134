"""Runs several live sources through one network, each into sinks of its own.

    source 1 ──▶ waiting ─┐                      ┌─▶ waiting ──▶ overlay, sinks of 1
    source 2 ──▶ waiting ─┴─▶ one network ───────┴─▶ waiting ──▶ overlay, sinks of 2
    (a thread each)           (a thread)             (a thread each)

No source waits for another: of one that is slow to open, stalls, ends or fails the others notice nothing, nor of a
sink that is slow, whose own source loses its oldest frames. Of the windows that are due those go first whose source has
waited longest, so an overload is shared evenly.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.errors import ActionNetError, ImageError
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, Report, ResultSink
from ros2_actionnet.media.channel import Channel
from ros2_actionnet.media.pipeline import LAST_READ, WAITING_LIVE, WRITTEN_LIVE
from ros2_actionnet.media.stages import LeaveOut, Stages, Statistics
from ros2_actionnet.recognition.events import Event
from ros2_actionnet.recognition.recognizer import Recognized, Recognizer, recognize_together
from ros2_actionnet.settings import Settings

OpenSource = Callable[[str], FrameSource]
"""Opens the source of a camera, by the camera's name; may take long."""

OpenSinks = Callable[[str, FrameSource], Mapping[str, ResultSink]]
"""Opens the sinks of a camera, by what they do."""

_MOST_RECOGNIZED = WRITTEN_LIVE + 2 * WAITING_LIVE
"""Frames of a camera that are held or wait for its sinks, at most: none are taken in while there are enough of either,
and then as many as have waited. The thread of the network never waits for a sink.
"""


class LiveCameras:
    """A run of several live sources through one network; for one use.

    Attributes:
        failed: The names of the cameras that could not be opened, or ended with an error.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_source: OpenSource,
        open_sinks: OpenSinks,
        session: Session[Any],
        settings: Settings,
        batch: int,
        report: Report,
    ) -> None:
        """Prepare the run; at most `batch` windows are classified in one inference."""
        self._open_source, self._open_sinks, self._report, self._batch = open_source, open_sinks, report, batch
        self._work = threading.Condition()
        self._woken = False
        self._ending, self._stopped = threading.Event(), threading.Event()
        self._turns = itertools.count()
        self._error: BaseException | None = None
        self._cameras = [_Camera(name, Recognizer(session, settings), self._wake) for name in names]
        self.failed = list[str]()

    def run(self, meanwhile: Callable[[Callable[[], bool]], None] | None = None) -> None:
        """Run until all sources have ended, or until `close` or `stop` is called, and close everything.

        `meanwhile` is done in the caller's thread; what it is given says whether the run has ended. Raises what it
        raises, BackendError if an inference fails, and BrokenPipeError if nobody reads what is printed any more.
        """
        worker = threading.Thread(target=self._guarded_rounds, name="rounds", daemon=True)
        worker.start()
        for camera in self._cameras:
            camera.reader = threading.Thread(target=self._read, args=(camera,), name=camera.name, daemon=True)
            camera.reader.start()
        try:
            if meanwhile is not None:
                meanwhile(lambda: not worker.is_alive())
            worker.join()
        except BaseException:
            self.stop()
            raise
        finally:
            worker.join()
            self._end()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the run from any thread as if all sources had ended: frames on their way are still written."""
        self._ending.set()
        for camera in self._cameras:
            camera.read.finish()
            camera.close_source()

    def stop(self) -> None:
        """End the run at once, from any thread: frames on their way are lost, what is written can be used."""
        self._stopped.set()
        self._ending.set()
        for camera in self._cameras:
            camera.abandon()
        self._wake()

    def statistics(self) -> dict[str, Statistics]:
        """Return the totals of each camera so far."""
        return {camera.name: camera.statistics(stopped=self._stopped.is_set()) for camera in self._cameras}

    def remedies(self) -> dict[str, str]:
        """Return, for each camera that was opened and of which no window was classified, why not and what to do."""
        opened = [camera for camera in self._cameras if camera.source is not None]
        return {one.name: one.recognizer.remedy() for one in opened if not one.recognizer.windows}

    @property
    def rate(self) -> float:
        """Frames a second of the fastest camera that is open; 0 while none is."""
        return max((camera.source.rate for camera in self._cameras if camera.source is not None), default=0.0)

    # A thread for each source.

    def _read(self, camera: _Camera) -> None:
        try:
            source = self._open_source(camera.name)
            camera.source = source
            if self._ending.is_set():
                source.close()
                return
            camera.stages.open(self._open_sinks(camera.name, source))
            camera.writer = threading.Thread(target=self._write, args=(camera,), daemon=True)
            camera.writer.start()
            camera.stages.read(source, camera.read)
            if not self._ending.is_set() and camera.name not in self.failed:
                self._report(f"{camera.name} has ended")
        except Exception as error:
            self._fail(camera, error)
        finally:
            camera.read.finish()

    def _write(self, camera: _Camera) -> None:
        self._guarded(camera, lambda: camera.write(self._leave_out_of(camera)))
        for sink in camera.stages.sinks.values():
            self._guarded(camera, sink.close)

    def _guarded(self, camera: _Camera, do: Callable[[], None]) -> None:
        try:
            do()
        except BrokenPipeError as error:  # of standard output, which all cameras share
            if self._error is None:
                self._error = error
            self.stop()
        except Exception as error:
            self._fail(camera, error)

    def _fail(self, camera: _Camera, error: Exception) -> None:
        """Report the first error of a camera, which ends it alone."""
        if camera.name not in self.failed and not (self._ending.is_set() and camera.source is None):
            self.failed.append(camera.name)
            unexpected = "" if isinstance(error, (ActionNetError, OSError)) else f"unexpected {type(error).__name__}: "
            self._report(f"{camera.name} has failed: {unexpected}{error}")
        camera.abandon()

    # The thread of the network.

    def _wake(self) -> None:
        with self._work:
            self._woken = True
            self._work.notify()

    def _guarded_rounds(self) -> None:
        try:
            while not self._stopped.is_set() and not all(camera.has_ended for camera in self._cameras):
                with self._work:
                    self._work.wait_for(lambda: self._woken)
                    self._woken = False
                self._do_round()
        except BaseException as error:
            self._error = error
            self.stop()

    def _do_round(self) -> None:
        """Take all frames in, and classify the windows whose cameras have waited longest."""
        for camera in self._cameras:
            camera.take_frames(self._leave_out_of(camera))
        due = sorted((camera for camera in self._cameras if camera.is_due), key=attrgetter("turn"))
        chosen = due[: self._batch]
        if chosen:
            events = recognize_together([(camera.recognizer, camera.held[0].frame) for camera in chosen])
            for camera, its_events in zip(chosen, events, strict=True):
                camera.turn = next(self._turns)
                held, prediction = camera.held.pop(0), camera.recognizer.prediction
                camera.hand_over(Recognized(held.frame, prediction, True, (*held.ended, *its_events)))
                camera.release()
        for camera in self._cameras:
            if camera.read.has_ended and not camera.held and not camera.has_ended:
                camera.has_ended = True
                camera.recognized.finish()  # wakes this thread, and so only once
        if len(due) > len(chosen):
            self._wake()  # after the frames that have come meanwhile are taken in

    def _leave_out_of(self, camera: _Camera) -> LeaveOut:
        return lambda frame, error: self._report(f"{camera.name}: frame {frame.index} is skipped: {error}")

    # How it ends.

    def _end(self) -> None:
        for camera in self._cameras:
            camera.close_source()
        until = time.monotonic() + LAST_READ
        for camera in self._cameras:
            if camera.source is not None and camera.reader is not None:
                camera.reader.join(max(0.0, until - time.monotonic()))
                if camera.reader.is_alive():
                    self._report(f"{camera.name} did not stop within {LAST_READ:g} s and is abandoned")
            if camera.writer is not None:
                camera.writer.join()


@dataclass(frozen=True, eq=False)
class _Held:
    """A frame that waits for the result of a window, with the actions that ended because it emptied the one before."""

    frame: MediaFrame
    ended: tuple[Event, ...]


class _Camera:
    """One source with its window and sinks.

    `read` is filled by the source's thread and emptied by the network's, which fills `recognized` for the sinks'.
    `held`, `turn` and `recognizer` belong to the network's.
    """

    def __init__(self, name: str, recognizer: Recognizer, on_change: Callable[[], None]) -> None:
        self.name, self.recognizer = name, recognizer
        self.read: Channel[MediaFrame] = Channel(WAITING_LIVE, newest_wins=True, on_change=on_change)
        self.recognized: Channel[tuple[ClassifiedFrame, Annotation]] = Channel(_MOST_RECOGNIZED, on_change=on_change)
        self.source: FrameSource | None = None
        self.stages = Stages(recognizer)
        self.reader: threading.Thread | None = None
        self.writer: threading.Thread | None = None
        self.held = list[_Held]()  # begins with the frame that the due window ends with, and waits for its result
        self.turn = -1
        self.has_ended = False

    @property
    def is_due(self) -> bool:
        """True if a window waits to be classified."""
        return bool(self.held)

    def take_frames(self, leave_out: LeaveOut) -> None:
        """Take all waiting frames into the window, unless the sinks or the network are behind.

        Then they wait, and the oldest are dropped.
        """
        if self.recognized.waiting >= WRITTEN_LIVE or len(self.held) >= WAITING_LIVE:
            return
        recognizer = self.recognizer
        for frame in self.read.take_waiting():
            try:
                taken = recognizer.take(frame)
            except ImageError as error:
                leave_out(frame, error)
                continue
            if taken.is_sampled:
                self.release()  # a newer window, or none, is due
            if taken.is_due or self.held:
                self.held.append(_Held(frame, taken.ended))
            else:
                self.hand_over(Recognized(frame, recognizer.prediction, False, taken.ended))

    def release(self) -> None:
        """Hand over the frames that were held, of which no window is classified."""
        for held in self.held:
            self.hand_over(Recognized(held.frame, self.recognizer.prediction, False, held.ended))
        self.held.clear()

    def hand_over(self, recognized: Recognized[MediaFrame]) -> None:
        """Queue a frame for the sinks."""
        self.recognized.put((ClassifiedFrame.of(recognized), self.recognizer.annotation()))

    def write(self, leave_out: LeaveOut) -> None:
        """Hand the frames to the sinks until there are no more."""
        for ((result, annotation),) in self.recognized:
            drawn: ClassifiedFrame | None = result
            if self.stages.wants_pictures:
                drawn = self.stages.draw(result, annotation, leave_out)
            if drawn is not None:
                self.stages.write(drawn)

    def abandon(self) -> None:
        """End at once; what waits is lost."""
        self.read.abandon()
        self.recognized.abandon()
        self.close_source()

    def close_source(self) -> None:
        """End the source, if it is open."""
        if self.source is not None:
            self.source.close()

    def statistics(self, *, stopped: bool) -> Statistics:
        """Return the totals so far."""
        draws = self.stages.drawing.count > 0
        return self.stages.statistics(dropped=self.read.dropped, stopped=stopped, draws=draws)
