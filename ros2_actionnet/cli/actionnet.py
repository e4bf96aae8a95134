"""The command `actionnet`, which recognizes actions in videos, images, cameras, streams and bags, without ROS."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    import sys

    from ros2_actionnet.system import start

    sys.exit(start.run("ros2_actionnet.cli.actionnet"))

import argparse
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ros2_actionnet.backends import Session
from ros2_actionnet.cli.camera_run import CameraRun
from ros2_actionnet.cli.console import Outcome, batch_table, profile, report, summary
from ros2_actionnet.cli.flags import DEFAULT_INPUT, WITHOUT_EFFECT, parse_flags
from ros2_actionnet.cli.outputs import Outputs, outputs_of_batch
from ros2_actionnet.cli.run_parts import RunParts
from ros2_actionnet.errors import ActionNetError, MediaError
from ros2_actionnet.load_monitor import UNMONITORED
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.base import FrameSource, RunDetails
from ros2_actionnet.media.detected_people import DetectedPeople, header_stamp_of, index_of
from ros2_actionnet.media.detection_file import read_detections
from ros2_actionnet.media.detection_topic import read_detection_topic
from ros2_actionnet.media.overwriting import check_overwriting
from ros2_actionnet.media.pipeline import Pipeline
from ros2_actionnet.media.uris import check_output, is_file, path_of
from ros2_actionnet.recognition.loading import load_options, network_request, prepared_here
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectRecognizer
from ros2_actionnet.report import RecordingPage
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.allocator import keep_large_blocks
from ros2_actionnet.system.terminal import leave_closed_pipe, print_in_any_encoding
from ros2_actionnet.system.termination import TERMINATED, on_termination
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import Access


class Command:
    """One invocation of the command: one loaded network, applied to one or several inputs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._parts = RunParts(options)
        self._settings: Settings = options.settings
        self._end: Callable[[], None] | None = None  # ends what runs

    def run(self) -> int:
        """Run the command and return its exit code.

        Raises ActionNetError or OSError for an error that ends the command.
        """
        options = self._options
        for flag, reason in WITHOUT_EFFECT.items():
            if getattr(options, flag.replace("-", "_")) is not None:
                self.warn(f"--{flag} has no effect: {reason}")
        if options.cameras:
            with closing(CameraRun(options.cameras, self._parts)) as run, self._ended_by(run.stop):
                code = run.run()
        else:
            code = self._run_one() if options.batch is None else self._run_batch()
        if options.profile and self._parts.backend == "tensorrt" and code == 0:
            from ros2_actionnet.backends.tensorrt.profile import profile_network

            # Prepared once more, rather than kept in memory during the run.
            with prepared_here(network_request(self._settings), UNMONITORED) as network:
                print(profile_network(network, load_options(self._settings)), flush=True)
        return code

    def stop(self) -> None:
        """End the run at once; if none has started, end the process, since no result would be lost. Thread-safe."""
        end = self._end
        if end is not None:
            end()
        else:
            os._exit(TERMINATED)

    @contextmanager
    def _ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Let `stop` call `end`, until the context ends."""
        self._end = end
        try:
            yield
        finally:
            self._end = None

    def warn(self, line: str) -> None:
        """Report what goes wrong but ends nothing."""
        self._parts.warn(line)

    def show(self, error: Exception) -> None:
        """Print the error in one line, at log level debug with its traceback."""
        if self._options.log_level == "debug":
            traceback.print_exception(error)
        report(str(error))

    # One input.

    def _run_one(self) -> int:
        options = self._options
        uri = options.uris[0] if options.uris else DEFAULT_INPUT
        outputs = self._parts.outputs
        boxes: str | None = options.detections
        is_topic = boxes is not None and not Path(boxes).exists() and is_file(uri) and is_bag(path_of(uri))
        inputs = [uri] if boxes is None or is_topic else [uri, boxes]
        check_overwriting(inputs, outputs.uris, self._parts.files_read())
        check_output(outputs.output)
        access = Access.of(options.serve, options.token) if options.serve else None
        detections = None
        if boxes is not None:
            detections = read_detection_topic(path_of(uri), boxes) if is_topic else read_detections(Path(boxes))
        with ExitStack() as stack:
            source = stack.enter_context(closing(self._parts.open(uri, outputs.input_save)))
            if access is not None and source.is_live:
                raise MediaError(
                    f"'{printable(without_password(uri))}' is live: --serve shows recordings; "
                    "give webrtc://@:8554/NAME as the output to watch it"
                )
            session = stack.enter_context(closing(self._parts.load()))
            recognizer = Recognizer(session, self._settings)
            people = None
            if detections is not None:
                subjects = SubjectRecognizer(session, self._settings, self._parts.batch)
                people = DetectedPeople(subjects, detections, header_stamp_of if is_topic else index_of)
            page: RecordingPage | None = None
            if access is not None:
                details = RunDetails.of(source, session, self._settings)
                page = RecordingPage(access, details, lambda: self._parts.open(uri, quiet=True))
                stack.callback(page.stop)
                report(f"open {page.link}")
            try:
                outcome = self._classify(uri, source, recognizer, session, outputs, people, page)
            finally:
                for path in outputs.files:
                    self._parts.say(f"wrote {path}")
            if page is not None and outcome.statistics is not None and not outcome.statistics.stopped:
                self._parts.say("all of it is on the page; Ctrl-C ends it")
                ended = threading.Event()
                with self._ended_by(ended.set):
                    ended.wait()
                return TERMINATED
        assert outcome.statistics is not None
        return TERMINATED if outcome.statistics.stopped else 0

    def _classify(
        self,
        uri: str,
        source: FrameSource,
        recognizer: Recognizer,
        session: Session[Any],
        outputs: Outputs,
        people: DetectedPeople | None = None,
        page: RecordingPage | None = None,
    ) -> Outcome:
        """Classify one input and report a summary. Raises ActionNetError if no window was classified."""
        console = self._parts.console(source.length)
        try:
            sinks = self._parts.sinks(source, session, outputs)
        except BaseException:
            console.close()
            raise
        sinks["print"] = console
        if page is not None:
            sinks["page"] = page.recording
        pipeline = Pipeline(source, recognizer, sinks, self._parts.warn, people)
        started = time.perf_counter()
        with self._ended_by(pipeline.stop):
            statistics = pipeline.run()
        seconds = time.perf_counter() - started
        self._parts.say(summary(statistics, seconds))
        if self._options.profile:
            print(profile(statistics.times, seconds), flush=True)
        if people is not None:
            self._parts.say(f"{people.found} people, {people.windows} windows of theirs")
            if statistics.frames and not people.matched:
                self.warn(
                    f"no frame has boxes in '{self._options.detections}'; those of a file are found by the number of "
                    "the frame, those of a topic by the stamp in the image's header: are they of this input?"
                )
        if statistics.windows == 0 and not statistics.stopped:
            raise ActionNetError(f"'{without_password(uri)}': {recognizer.remedy()}")
        most = console.labels.most_common(1)
        return Outcome(without_password(uri), statistics, seconds, most[0][0] if most else "")

    # Several inputs.

    def _run_batch(self) -> int:
        folder: Path = self._options.batch
        uris: list[str] = self._options.uris
        if folder.exists() and not folder.is_dir():
            raise MediaError(f"'{folder}' is a file; give --batch a folder first, then the inputs")
        outputs_of = list(outputs_of_batch(uris, folder, self._options.batch_files))
        written = [output for outputs in outputs_of for output in outputs.uris]
        check_overwriting(uris, written, self._parts.files_read())
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = list[Outcome]()
        with closing(self._parts.load()) as session:
            recognizer = Recognizer(session, self._settings)
            for uri, outputs in zip(uris, outputs_of, strict=True):
                self._parts.say(f"{without_password(uri)} ({len(outcomes) + 1} of {len(uris)})")
                try:
                    recognizer.reset()
                    with closing(self._parts.open(uri)) as source:
                        outcomes.append(self._classify(uri, source, recognizer, session, outputs))
                except BrokenPipeError:
                    raise
                except (ActionNetError, OSError) as error:
                    self.show(error)
                    outcomes.append(Outcome(without_password(uri), error=str(error)))
                if (statistics := outcomes[-1].statistics) is not None and statistics.stopped:
                    break
        print(batch_table(outcomes), flush=True)
        self._parts.say(f"wrote {folder}")
        if outcomes[-1].statistics is not None and outcomes[-1].statistics.stopped:
            return TERMINATED
        return 1 if any(outcome.error for outcome in outcomes) else 0


@contextmanager
def _warnings_to(warn: Callable[[str], None]) -> Iterator[None]:
    """Pass what the package's modules log, from WARNING up, to `warn`, until the context ends."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(self.format(record))

    package, handler = logging.getLogger("ros2_actionnet"), Handler(logging.WARNING)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command: Command | None = None
    print_in_any_encoding()
    try:
        command = Command(parse_flags(sys.argv[1:] if arguments is None else arguments))
        keep_large_blocks()
        undo = on_termination(command.stop)
        try:
            with _warnings_to(command.warn):
                code = command.run()
            sys.stdout.flush()
            return code
        finally:
            undo()
    except BrokenPipeError:
        return leave_closed_pipe()
    except KeyboardInterrupt:
        return TERMINATED
    except (ActionNetError, OSError) as error:
        if command is None:
            report(str(error))
        else:
            command.show(error)
        return 1
