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
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet.backends import Session, describe_loaded
from ros2_actionnet.cli.cameras import Camera, check_outputs, common_outputs, outputs_of
from ros2_actionnet.cli.console import Console, Outcome, batch_table, profile, report, summary
from ros2_actionnet.cli.flags import DEFAULT_INPUT, LEVELS, WITHOUT_EFFECT, parse_flags
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.cli.outputs import Outputs, files_of_network, has_display, outputs_of_batch
from ros2_actionnet.errors import ActionNetError, MediaError
from ros2_actionnet.load_monitor import UNMONITORED
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.base import FrameSource, InputOptions, OutputOptions, ResultSink, RunDetails
from ros2_actionnet.media.detected_people import DetectedPeople, header_stamp_of, index_of
from ros2_actionnet.media.detection_file import read_detections
from ros2_actionnet.media.detection_topic import read_detection_topic
from ros2_actionnet.media.json_lines import ResultsFile, StreamResults
from ros2_actionnet.media.live_cameras import LiveCameras
from ros2_actionnet.media.mosaic import Mosaic, NoSink
from ros2_actionnet.media.overwriting import check_overwriting
from ros2_actionnet.media.pipeline import Pipeline
from ros2_actionnet.media.uris import check_output, is_file, open_sink, open_source, path_of
from ros2_actionnet.recognition.loading import load, load_options, network_request, prepared_here
from ros2_actionnet.recognition.recognizer import Recognizer
from ros2_actionnet.recognition.subjects.subject_recognizer import SubjectRecognizer
from ros2_actionnet.report import RecordingPage, ReportPage
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.allocator import keep_large_blocks
from ros2_actionnet.system.paths import user_path
from ros2_actionnet.system.terminal import leave_closed_pipe, print_in_any_encoding
from ros2_actionnet.system.termination import TERMINATED, on_termination
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.access import Access
from ros2_actionnet.web.webrtc_server import WebOptions


class Command:
    """One invocation of the command: one loaded network, applied to one or several inputs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._settings: Settings = options.settings
        self._level = LEVELS.index(options.log_level)
        self._running: Pipeline | LiveCameras | None = None
        self._page: RecordingPage | None = None
        self._ended = threading.Event()  # told to end, while the page is served
        self._backend = ""  # that runs the network
        self._batch = 1  # windows in one inference, at most

    def run(self) -> int:
        """Run the command and return its exit code.

        Raises ActionNetError or OSError for an error that ends the command.
        """
        options = self._options
        for flag, reason in WITHOUT_EFFECT.items():
            if getattr(options, flag.replace("-", "_")) is not None:
                self.warn(f"--{flag} has no effect: {reason}")
        if options.cameras:
            code = self._run_cameras()
        else:
            code = self._run_one() if options.batch is None else self._run_batch()
        if options.profile and self._backend == "tensorrt" and code == 0:
            from ros2_actionnet.backends.tensorrt.profile import profile_network

            # Prepared once more, rather than kept in memory during the run.
            with prepared_here(network_request(self._settings), UNMONITORED) as network:
                print(profile_network(network, load_options(self._settings)), flush=True)
        return code

    def stop(self) -> None:
        """End the run at once; if none has started, end the process, since no result would be lost. Thread-safe."""
        running = self._running
        if running is not None:
            running.stop()
        elif self._page is not None:
            self._ended.set()
        else:
            os._exit(TERMINATED)

    def show(self, error: Exception) -> None:
        """Print the error in one line, at log level debug with its traceback."""
        if self._options.log_level == "debug":
            traceback.print_exception(error)
        report(str(error))

    # One input.

    def _run_one(self) -> int:
        options = self._options
        uri = options.uris[0] if options.uris else DEFAULT_INPUT
        outputs = _outputs(options)
        boxes: str | None = options.detections
        is_topic = boxes is not None and not Path(boxes).exists() and is_file(uri) and is_bag(path_of(uri))
        inputs = [uri] if boxes is None or is_topic else [uri, boxes]
        check_overwriting(inputs, outputs.uris, self._files_read())
        check_output(outputs.output)
        access = Access.of(options.serve, options.token) if options.serve else None
        detections = None
        if boxes is not None:
            detections = read_detection_topic(path_of(uri), boxes) if is_topic else read_detections(Path(boxes))
        with ExitStack() as stack:
            source = stack.enter_context(closing(self._open(uri)))
            if access is not None and source.is_live:
                raise MediaError(
                    f"'{printable(without_password(uri))}' is live: --serve shows recordings; "
                    "give webrtc://@:8554/NAME as the output to watch it"
                )
            session = stack.enter_context(closing(self._load()))
            recognizer = Recognizer(session, self._settings)
            people = None
            if detections is not None:
                subjects = SubjectRecognizer(session, self._settings, self._batch)
                people = DetectedPeople(subjects, detections, header_stamp_of if is_topic else index_of)
            if access is not None:
                details = RunDetails.of(source, session, self._settings)
                page = RecordingPage(access, details, lambda: self._open(uri, quiet=True))
                stack.callback(page.stop)
                report(f"open {page.link}")
                self._page = page
            try:
                outcome = self._classify(uri, source, recognizer, session, outputs, people)
            finally:
                for path in outputs.files:
                    self._say(f"wrote {path}")
            if self._page is not None and outcome.statistics is not None and not outcome.statistics.stopped:
                self._say("all of it is on the page; Ctrl-C ends it")
                self._ended.wait()
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
    ) -> Outcome:
        """Classify one input and report a summary. Raises ActionNetError if no window was classified."""
        console = self._console(source.length)
        try:
            sinks = self._sinks(source, session, outputs)
        except BaseException:
            console.close()
            raise
        pipeline = Pipeline(source, recognizer, sinks | {"print": console}, self.warn, people)
        self._running = pipeline
        started = time.perf_counter()
        try:
            statistics = pipeline.run()
        finally:
            self._running = None
        seconds = time.perf_counter() - started
        self._say(summary(statistics, seconds))
        if self._options.profile:
            print(profile(statistics.times, seconds), flush=True)
        if people is not None:
            self._say(f"{people.found} people, {people.windows} windows of theirs")
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
        check_overwriting(uris, written, self._files_read())
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = list[Outcome]()
        with closing(self._load()) as session:
            recognizer = Recognizer(session, self._settings)
            for uri, outputs in zip(uris, outputs_of, strict=True):
                self._say(f"{without_password(uri)} ({len(outcomes) + 1} of {len(uris)})")
                try:
                    recognizer.reset()
                    with closing(self._open(uri)) as source:
                        outcomes.append(self._classify(uri, source, recognizer, session, outputs))
                except BrokenPipeError:
                    raise
                except (ActionNetError, OSError) as error:
                    self.show(error)
                    outcomes.append(Outcome(without_password(uri), error=str(error)))
                if (statistics := outcomes[-1].statistics) is not None and statistics.stopped:
                    break
        print(batch_table(outcomes), flush=True)
        self._say(f"wrote {folder}")
        if outcomes[-1].statistics is not None and outcomes[-1].statistics.stopped:
            return TERMINATED
        return 1 if any(outcome.error for outcome in outcomes) else 0

    # Several live inputs.

    def _run_cameras(self) -> int:
        cameras: dict[str, Camera] = {camera.name: camera for camera in self._options.cameras}
        outputs = _outputs(self._options)
        check_outputs(outputs)
        own = {name: outputs_of(camera, outputs) for name, camera in cameras.items()}
        common = common_outputs(outputs)
        written = [uri for each in [common, *own.values()] for uri in each.uris]
        check_overwriting([camera.uri for camera in cameras.values()], written, self._files_read())
        for each in [common, *own.values()]:
            check_output(each.output)
        with ExitStack() as stack:
            session = stack.enter_context(closing(self._load(tuple(cameras))))
            results = None if common.results is None else ResultsFile(common.results)
            if results is not None:
                stack.callback(results.close)
            mosaic: Mosaic | None = None

            def open_source(name: str) -> FrameSource:
                source = self._open(cameras[name].uri, own[name].input_save, name)
                if not source.is_live:
                    source.close()
                    raise MediaError("it is a recording, which ends; give it alone, or several with --batch FOLDER")
                return source

            def open_sinks(name: str, source: FrameSource) -> dict[str, ResultSink]:
                sinks: dict[str, ResultSink] = {"print": consoles[name]}
                sinks |= self._sinks(source, session, own[name], name)
                if results is not None:
                    sinks["results of all"] = StreamResults(results, name)
                if mosaic is not None:
                    sinks["tile"] = mosaic.sink(name)
                return sinks

            consoles = {name: self._console(None, name) for name in cameras}
            run = LiveCameras(list(cameras), open_source, open_sinks, session, self._settings, self._batch, self.warn)
            if common.output or common.window or common.save:
                mosaic = Mosaic(list(cameras), lambda source: self._open_mosaic(common, source, session), run.stop)
            self._running = run
            started = time.perf_counter()
            try:
                run.run(None if mosaic is None else lambda has_ended: mosaic.run(has_ended, lambda: run.rate))
            finally:
                self._running = None
                for path in [path for each in [common, *own.values()] for path in each.files]:
                    self._say(f"wrote {path}")
            return self._report_cameras(run, time.perf_counter() - started)

    def _open_mosaic(self, common: Outputs, source: FrameSource, session: Session[Any]) -> ResultSink:
        sink = self._open_output(common, source, RunDetails.of(source, session, self._settings))
        return NoSink() if sink is None else sink

    def _report_cameras(self, run: LiveCameras, seconds: float) -> int:
        statistics = run.statistics()
        stopped = any(each.stopped for each in statistics.values())
        remedies = {} if stopped else run.remedies()
        for name, each in statistics.items():
            self._say(f"{name}: {summary(each, seconds)}")
            if name in remedies and name not in run.failed:
                self.warn(f"{name}: {remedies[name]}")
            if self._options.profile:
                print(f"{name}\n{profile(each.times, seconds)}", flush=True)
        if stopped:
            return TERMINATED
        return 1 if run.failed or remedies else 0

    def _console(self, length: int | None, name: str = "") -> Console:
        return Console(length, quiet=self._level <= LEVELS.index("warning"), verbose=self._is_verbose, name=name)

    # Shared by all.

    @property
    def _is_verbose(self) -> bool:
        return self._level >= LEVELS.index("verbose")

    def warn(self, line: str) -> None:
        """Report what goes wrong but ends nothing."""
        if self._level >= LEVELS.index("warning"):
            report(line)

    def _say(self, line: str) -> None:
        if self._level >= LEVELS.index("success"):
            report(line)

    def _open(self, uri: str, save: str = "", name: str = "", *, quiet: bool = False) -> FrameSource:
        """Open an input; `save` and `name` are of one of several live ones; a quiet one saves and says nothing."""
        options = self._options
        how = InputOptions(
            width=options.input_width,
            height=options.input_height,
            rate=options.input_rate,
            loop=options.input_loop,
            flip=options.input_flip,
            codec=options.input_codec,
            save="" if quiet else save if name else options.input_save,
            topic=options.topic,
            timeout=options.input_timeout,
            transport=options.rtsp_transport,
            decoder=options.input_decoder,
            web=self._web_options(),
        )

        def say(line: str) -> None:
            if not quiet:
                self.warn(f"{name}: {line}" if name else line)

        return open_source(uri, how, say)

    def _files_read(self) -> list[Path]:
        """Return the files that are read beside the input."""
        keys = (self._options.ssl_cert, self._options.ssl_key)
        return [*files_of_network(self._settings), *(user_path(file) for file in keys if file)]

    def _web_options(self) -> WebOptions:
        return WebOptions(self._options.ssl_cert, self._options.ssl_key, self._options.stun_server)

    def _load(self, cameras: tuple[str, ...] = ()) -> Session[Any]:
        """Return the loaded network. Raises NetworkError and BackendError."""
        # For the size of a batch.
        settings = replace(self._settings, detections=self._options.detections is not None, cameras=cameras)
        with LoadProgress(quiet=self._level < LEVELS.index("success")) as monitor:
            loaded = load(settings, monitor)
        session = loaded.session
        self._backend, self._batch = session.backend, loaded.batch
        self._say(describe_loaded(session.network, session.backend, session.device, session.precision))
        if self._is_verbose:
            report(loaded.reason)
        return session

    def _sinks(
        self, source: FrameSource, session: Session[Any], outputs: Outputs, name: str = ""
    ) -> dict[str, ResultSink]:
        details = RunDetails.of(source, session, self._settings)
        sinks: dict[str, ResultSink] = {}
        try:
            output = self._open_output(outputs, source, details)
            if output is not None:
                sinks["write"] = output
            if outputs.results is not None:
                results = ResultsFile(outputs.results)
                sinks["results"] = StreamResults(results, name, closes=True) if name else results
            if self._page is not None:
                sinks["page"] = self._page.recording
            if outputs.report is not None:
                sinks["report"] = ReportPage(outputs.report, details)
        except BaseException:
            for sink in sinks.values():
                sink.close()
            raise
        return sinks

    def _open_output(self, outputs: Outputs, source: FrameSource, details: RunDetails) -> ResultSink | None:
        options = self._options
        how = OutputOptions(
            options.output_codec,
            options.bitrate,
            outputs.save,
            options.output_encoder,
            options.bag_compression,
            self._web_options(),
        )
        if outputs.output:
            return open_sink(outputs.output, how, source, details, self.warn)
        if outputs.window:
            try:
                return open_sink("display://0", how, source, details, self.warn)
            except MediaError as error:
                self.warn(f"no window is shown: {error}")
        return open_sink(outputs.save, how, source, details, self.warn) if outputs.save else None


def _outputs(options: argparse.Namespace) -> Outputs:
    """Return the outputs of a run with a single input, or with cameras, whose inputs stand at flags."""
    after_input = options.uris if options.cameras else options.uris[1:]
    output = after_input[0] if after_input else ""
    window = has_display() and not options.headless
    return Outputs(output, window, options.results, options.report, options.output_save, options.input_save)


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
