"""What the runs of the command `actionnet` share: opening what the flags name, and reporting."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_actionnet.backends import Session, describe_loaded
from ros2_actionnet.cli.console import Console, report
from ros2_actionnet.cli.flags import LEVELS
from ros2_actionnet.cli.load_progress import LoadProgress
from ros2_actionnet.cli.outputs import Outputs, files_of_network, has_display
from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import FrameSource, InputOptions, OutputOptions, ResultSink, RunDetails
from ros2_actionnet.media.json_lines import ResultsFile, StreamResults
from ros2_actionnet.media.uris import open_sink, open_source
from ros2_actionnet.recognition.loading import load
from ros2_actionnet.report import ReportPage
from ros2_actionnet.settings import Settings
from ros2_actionnet.system.paths import user_path
from ros2_actionnet.web.webrtc_server import WebOptions


class RunParts:
    """Opens the inputs, the network and the outputs as the flags say, and reports as loudly as they say.

    Attributes:
        backend: The one that runs the network, once it is loaded.
        batch: Windows in one inference, at most.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.settings: Settings = options.settings
        self._level = LEVELS.index(options.log_level)
        self.backend, self.batch = "", 1

    def console(self, length: int | None, name: str = "") -> Console:
        """Return the sink that prints results; `name` is that of one of several cameras."""
        return Console(length, quiet=self._level <= LEVELS.index("warning"), verbose=self._is_verbose, name=name)

    @property
    def outputs(self) -> Outputs:
        """The outputs of a run with a single input, or with cameras, whose inputs stand at flags."""
        options = self.options
        after_input = options.uris if options.cameras else options.uris[1:]
        output = after_input[0] if after_input else ""
        window = has_display() and not options.headless
        return Outputs(output, window, options.results, options.report, options.output_save, options.input_save)

    @property
    def _is_verbose(self) -> bool:
        return self._level >= LEVELS.index("verbose")

    def warn(self, line: str) -> None:
        """Report what goes wrong but ends nothing."""
        if self._level >= LEVELS.index("warning"):
            report(line)

    def say(self, line: str) -> None:
        """Report what goes well."""
        if self._level >= LEVELS.index("success"):
            report(line)

    def open(self, uri: str, save: str = "", name: str = "", *, quiet: bool = False) -> FrameSource:
        """Open an input, which is kept in the file `save`; `name` is that of one of several cameras."""
        options = self.options
        how = InputOptions(
            width=options.input_width,
            height=options.input_height,
            rate=options.input_rate,
            loop=options.input_loop,
            flip=options.input_flip,
            codec=options.input_codec,
            save=save,
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

    def files_read(self) -> list[Path]:
        """Return the files that are read beside the input."""
        keys = (self.options.ssl_cert, self.options.ssl_key)
        return [*files_of_network(self.settings), *(user_path(file) for file in keys if file)]

    def _web_options(self) -> WebOptions:
        return WebOptions(self.options.ssl_cert, self.options.ssl_key, self.options.stun_server)

    def load(self, cameras: tuple[str, ...] = ()) -> Session[Any]:
        """Return the loaded network. Raises NetworkError and BackendError."""
        # A batch is to hold a window of each person or camera, so their settings decide its size.
        settings = replace(self.settings, detections=self.options.detections is not None, cameras=cameras)
        with LoadProgress(quiet=self._level < LEVELS.index("success")) as monitor:
            loaded = load(settings, monitor)
        session = loaded.session
        self.backend, self.batch = session.backend, loaded.batch
        self.say(describe_loaded(session.network, session.backend, session.device, session.precision))
        if self._is_verbose:
            report(loaded.reason)
        return session

    def sinks(
        self, source: FrameSource, session: Session[Any], outputs: Outputs, name: str = ""
    ) -> dict[str, ResultSink]:
        """Open the outputs of an input, by what they do; `name` is that of one of several cameras."""
        details = RunDetails.of(source, session, self.settings)
        sinks: dict[str, ResultSink] = {}
        try:
            output = self.open_output(outputs, source, session)
            if output is not None:
                sinks["write"] = output
            if outputs.results is not None:
                results = ResultsFile(outputs.results)
                sinks["results"] = StreamResults(results, name, closes=True) if name else results
            if outputs.report is not None:
                sinks["report"] = ReportPage(outputs.report, details)
        except BaseException:
            for sink in sinks.values():
                sink.close()
            raise
        return sinks

    def open_output(self, outputs: Outputs, source: FrameSource, session: Session[Any]) -> ResultSink | None:
        """Open the output or else the window, and what is saved beside it; None if there is nothing to write to."""
        options, details = self.options, RunDetails.of(source, session, self.settings)
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
