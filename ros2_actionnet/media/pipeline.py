"""Runs a source through a network into sinks: reading, classifying, drawing and writing overlap, a thread each.

    source ──▶ waiting ──▶ recognizer ──▶ waiting ──▶ overlay ──▶ waiting ──▶ sinks
    (thread)               (thread)                   (thread)                (the caller's thread)

File inputs are lossless: faster stages wait for slower ones. Live inputs never block: when a queue is full its oldest
frame is dropped, and when inferences take longer than frames take to come, only the newest window is classified.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ros2_actionnet.errors import ImageError
from ros2_actionnet.images.overlay import Annotation
from ros2_actionnet.media.base import ClassifiedFrame, FrameSource, MediaFrame, Report, ResultSink
from ros2_actionnet.media.channel import Channel
from ros2_actionnet.media.stages import Stages, Statistics
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectResult

MOST_WAITING = 16
"""Frames of a file that wait between two threads, at most: enough that neither waits for the other's slow moments."""

_BYTES_WAITING = 48 << 20  # between two threads: 16 frames up to 720p, 8 of 1080p; of larger ones at least two
_USUAL_SIZE = 1920, 1080  # pixels, where a source does not know it yet

WAITING_LIVE = 8
"""Frames of a live source that wait for the recognizer: what comes at 30 Hz during an inference of a quarter second."""

WRITTEN_LIVE = 2
"""Frames of a live source that wait for each stage after that: results are to be fresh."""

LAST_READ = 2.0
"""s that a source has to let go of a read, such as of a camera that sends nothing."""


class People(Protocol):
    """Recognizes what each tracked person does, such as `detected_people.DetectedPeople`."""

    def recognize(self, frame: MediaFrame) -> Sequence[SubjectResult]:
        """Return the people in the next frame. Raises ImageError for a frame that cannot be understood."""


class Pipeline:
    """A run of one source through one network into sinks, which it closes; for one use."""

    def __init__(
        self,
        source: FrameSource,
        recognizer: Recognizer,
        sinks: Mapping[str, ResultSink],
        report: Report,
        people: People | None = None,
    ) -> None:
        """Takes the sinks by what they do, in a word or two, for the times."""
        self._people = people
        self._source, self._recognizer, self._report = source, recognizer, report
        self._stages = Stages(recognizer, sinks)
        self._draws = self._stages.wants_pictures
        live, waiting = source.is_live, _frames_waiting(source)
        self._read: Channel[MediaFrame] = Channel(WAITING_LIVE if live else waiting, newest_wins=live)
        self._recognized: Channel[tuple[ClassifiedFrame, Annotation | None]] = Channel(waiting)
        self._drawn: Channel[ClassifiedFrame] = Channel(waiting)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._stopped = False

    def run(self) -> Statistics:
        """Runs to the end of the source, or until `stop` is called, and closes everything.

        Raises the first error of any stage, once the sinks are closed: MediaError, BackendError, or what else it was.
        """
        reader, *others = threads = [
            threading.Thread(target=self._guarded, args=(stage,), name=stage.__name__.strip("_"), daemon=True)
            for stage in (self._read_frames, self._recognize, self._draw)
        ]
        for thread in threads:
            thread.start()
        self._guarded(self._write)
        self._close_sinks()
        self._close_source()
        for thread in others:  # an inference goes on until it is done, and its session must not be closed under it
            thread.join()
        reader.join(LAST_READ)
        if reader.is_alive():
            self._report(f"'{self._source.name}' did not stop within {LAST_READ:g} s and is abandoned")
        if self._error is not None:
            raise self._error
        return self.statistics()

    def stop(self) -> None:
        """Ends the run at once, from any thread: frames on their way are lost, what is written can be used."""
        self._stopped = True
        self._end()

    def statistics(self) -> Statistics:
        """Return the totals so far."""
        return self._stages.statistics(dropped=self._read.dropped, stopped=self._stopped, draws=self._draws)

    # The stages. Each runs in its thread, until it has passed on the last item or nobody wants any more.

    def _read_frames(self) -> None:
        if self._stages.read(self._source, self._read):
            self._read.finish()

    def _recognize(self) -> None:
        for frames in self._read:
            for recognized in self._recognizer.recognize(frames, self._leave_out):
                result = self._with_people(ClassifiedFrame.of(recognized))
                annotation = self._recognizer.annotation() if self._draws else None
                if not self._recognized.put((result, annotation)):
                    return
        self._recognized.finish()

    def _with_people(self, result: ClassifiedFrame) -> ClassifiedFrame:
        if self._people is None:
            return result
        try:
            return replace(result, subjects=tuple(self._people.recognize(result.frame)))
        except ImageError:  # the recognizer has reported it, or the overlay will
            return result

    def _draw(self) -> None:
        for ((result, annotation),) in self._recognized:
            drawn: ClassifiedFrame | None = result
            if annotation is not None:
                drawn = self._stages.draw(result, annotation, self._leave_out)
            if drawn is not None and not self._drawn.put(drawn):
                return
        self._drawn.finish()

    def _leave_out(self, frame: MediaFrame, error: ImageError) -> None:
        self._report(f"frame {frame.index} is skipped: {error}")

    def _write(self) -> None:
        for (result,) in self._drawn:
            self._stages.write(result)

    # How it ends.

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # a KeyboardInterrupt in the caller's thread too: the others must end with it
            self._note(error)
            self._end()

    def _note(self, error: BaseException) -> None:
        """Keeps the first error, which the run raises; what comes after it is told, and mostly follows from it."""
        with self._lock:
            is_first = self._error is None
            if is_first:
                self._error = error
        if not is_first and error is not self._error:
            self._report(f"another error followed: {error or type(error).__name__}")

    def _end(self) -> None:
        for channel in (self._read, self._recognized, self._drawn):
            channel.abandon()
        self._close_source()

    def _close_source(self) -> None:
        try:
            self._source.close()
        except Exception as error:
            self._note(error)

    def _close_sinks(self) -> None:
        for name, sink in self._stages.sinks.items():
            with self._stages.writing[name]:
                self._guarded(sink.close)


def _frames_waiting(source: FrameSource) -> int:
    """How many frames may wait before each stage: for a file as many as there is memory for."""
    if source.is_live:
        return WRITTEN_LIVE
    width, height = source.size if all(source.size) else _USUAL_SIZE
    return min(MOST_WAITING, max(2, _BYTES_WAITING // (3 * width * height)))
