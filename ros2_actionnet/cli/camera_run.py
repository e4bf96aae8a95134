"""Several live inputs of the command `actionnet`, on one network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

from ros2_actionnet.cli.cameras import Camera, check_outputs, common_outputs, outputs_of
from ros2_actionnet.cli.console import profile, summary
from ros2_actionnet.cli.run_parts import RunParts
from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import FrameSource, ResultSink
from ros2_actionnet.media.json_lines import ResultsFile, StreamResults
from ros2_actionnet.media.live_cameras import LiveCameras
from ros2_actionnet.media.mosaic import Mosaic
from ros2_actionnet.media.overwriting import check_overwriting
from ros2_actionnet.media.uris import check_output
from ros2_actionnet.system.termination import TERMINATED


class CameraRun:
    """The run of several live inputs: each has outputs of its own, and all have some together; for one use."""

    def __init__(self, cameras: Sequence[Camera], parts: RunParts) -> None:
        """Check the outputs and load the network. Raises ActionNetError or OSError."""
        self._parts = parts
        self._cameras = {camera.name: camera for camera in cameras}
        outputs = parts.outputs
        check_outputs(outputs)
        self._own = {name: outputs_of(camera, outputs) for name, camera in self._cameras.items()}
        self._common = common = common_outputs(outputs)
        self._outputs = [common, *self._own.values()]
        written = [uri for each in self._outputs for uri in each.uris]
        check_overwriting([camera.uri for camera in cameras], written, parts.files_read())
        for each in self._outputs:
            check_output(each.output)
        names = tuple(self._cameras)
        with ExitStack() as opened:
            self._session = opened.enter_context(closing(parts.load(names)))
            self._results = None
            if common.results is not None:
                self._results = opened.enter_context(closing(ResultsFile(common.results)))
            self._opened = opened.pop_all()
        self._consoles = {name: parts.console(None, name) for name in names}
        self._live = LiveCameras(
            names, self._open_source, self._open_sinks, self._session, parts.settings, parts.batch, parts.warn
        )
        self._mosaic: Mosaic | None = None
        if common.output or common.window or common.save:
            self._mosaic = Mosaic(names, self._open_mosaic, self._live.close)

    def run(self) -> int:
        """Run until all inputs have ended, or until `stop` is called, and return the exit code."""
        started = time.perf_counter()
        mosaic, live = self._mosaic, self._live
        try:
            live.run(None if mosaic is None else lambda has_ended: mosaic.run(has_ended, lambda: live.rate))
        finally:
            for path in [path for each in self._outputs for path in each.files]:
                self._parts.say(f"wrote {path}")
        return self._report(time.perf_counter() - started)

    def stop(self) -> None:
        """End the run at once, from any thread."""
        self._live.stop()

    def close(self) -> None:
        """Close what all cameras have together."""
        self._opened.close()

    def _open_source(self, name: str) -> FrameSource:
        source = self._parts.open(self._cameras[name].uri, self._own[name].input_save, name)
        if not source.is_live:
            source.close()
            raise MediaError("it is a recording, which ends; give it alone, or several with --batch FOLDER")
        return source

    def _open_sinks(self, name: str, source: FrameSource) -> dict[str, ResultSink]:
        sinks: dict[str, ResultSink] = {"print": self._consoles[name]}
        sinks |= self._parts.sinks(source, self._session, self._own[name], name)
        if self._results is not None:
            sinks["results of all"] = StreamResults(self._results, name)
        if self._mosaic is not None:
            sinks["tile"] = self._mosaic.sink(name)
        return sinks

    def _open_mosaic(self, source: FrameSource) -> ResultSink | None:
        return self._parts.open_output(self._common, source, self._session)

    def _report(self, seconds: float) -> int:
        """Report the totals, and return the exit code."""
        parts, failed, statistics = self._parts, self._live.failed, self._live.statistics()
        stopped = any(each.stopped for each in statistics.values())
        remedies = {} if stopped else self._live.remedies()
        for name, each in statistics.items():
            parts.say(f"{name}: {summary(each, seconds)}")
            if name in remedies and name not in failed:
                parts.warn(f"{name}: {remedies[name]}")
            if parts.options.profile:
                print(f"{name}\n{profile(each.times, seconds)}", flush=True)
        if stopped:
            return TERMINATED
        return 1 if failed or remedies else 0
