"""Selection of the source of an input and the sink of an output, by scheme and suffix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from ros2_actionnet.errors import ActionNetError, MediaError
from ros2_actionnet.media.bag_reader import is_bag
from ros2_actionnet.media.base import (
    ClassifiedFrame,
    FrameSource,
    InputOptions,
    OutputOptions,
    Report,
    ResultSink,
    RunDetails,
)
from ros2_actionnet.media.cameras import open_csi, open_v4l2
from ros2_actionnet.media.display import DisplaySink
from ros2_actionnet.media.encoder import CONTAINERS
from ros2_actionnet.media.filters import Flipped, Thinned
from ros2_actionnet.media.image_files import WRITABLE_SUFFIXES, ImageSink, ImageSource, is_image
from ros2_actionnet.media.served_streams import ServedSink, check_served, open_browser_camera
from ros2_actionnet.media.streams import INPUTS, OUTPUTS, StreamSink, open_stream
from ros2_actionnet.media.video_files import VideoSink, VideoSource
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.text import printable
from ros2_actionnet.web.listening import listens

_OpenSource: TypeAlias = Callable[[str, InputOptions, Report], FrameSource]

VIDEO_SUFFIXES = (*CONTAINERS, ".qt", ".mpg", ".mpeg", ".wmv", ".3gp", ".ogv")
"""Of complete files; on a web server, anything else is the stream of a camera."""


def open_source(uri: str, options: InputOptions, report: Report) -> FrameSource:
    """Open an input, with its first frame read if possible.

    Args:
        uri: A video file; an image, a folder or a pattern (*.jpg) of images; a bag; `/dev/video0`, `v4l2:///dev/video0`
            or a camera's number; `csi://0`; a stream (`rtsp://host/path` and others, see `streams.INPUTS`); a browser's
            camera (`webrtc://@:8554/name`). Files may also be given as `file://...`.
        options: How to open it.
        report: Receives a line for each recoverable problem.

    Raises:
        MediaError: The input does not exist or cannot be read. The message names it and the alternatives.
    """
    uri = _lower_scheme(uri)
    with _media_errors(uri):
        source = _find_source(uri)(uri, options, report)
    try:
        if options.rate and (isinstance(source, VideoSource) or scheme_of(uri) in (*INPUTS, "webrtc")):
            source = Thinned(source, options.rate)
        return source if options.flip == "none" else Flipped(source, options.flip)
    except BaseException:
        source.close()
        raise


def open_sink(uri: str, options: OutputOptions, source: FrameSource, details: RunDetails, report: Report) -> ResultSink:
    """Open an output.

    Args:
        uri: A video file; an image, or a name without a suffix for a folder of images; a bag (.mcap); `display://0`;
            a stream (`rtsp://host/path` and others, see `streams.OUTPUTS`); a stream to serve (`webrtc://@:8554/name`,
            `rtsp://@:8554/name`). Files may also be given as `file://...`.
        options: How to open it.
        source: The source of the frames.
        details: Details of the run, to be written into a bag.
        report: Receives a line for each recoverable problem.

    Raises:
        MediaError: The output does not exist or cannot be written.
    """
    uri = _lower_scheme(uri)
    with _media_errors(uri):
        sink = _open_sink(uri, options, source, details, report)
    if not options.save or options.save == uri:
        return sink
    try:
        return _Both(sink, VideoSink(options.save, options, source, report))
    except BaseException:
        sink.close()
        raise


@contextmanager
def _media_errors(uri: str) -> Iterator[None]:
    """Raise MediaError for a name that the system refuses, such as one that is too long or holds a NUL."""
    try:
        yield
    except ActionNetError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MediaError(f"'{printable(without_password(uri))}' cannot be opened: {printable(reason)}") from error


def check_output(uri: str) -> None:
    """Raise MediaError for an output that cannot be opened whatever the input is; quick, before a network is loaded."""
    if _is_served(uri):
        check_served(uri)


def _is_served(uri: str) -> bool:
    scheme = scheme_of(uri)
    return scheme == "webrtc" or (scheme == "rtsp" and listens(uri))


def _find_source(uri: str) -> _OpenSource:
    scheme = scheme_of(uri)
    if scheme:
        if scheme not in _SOURCES:
            raise MediaError(
                f"'{printable(without_password(uri))}' begins with {printable(scheme, 40)}://, which cannot be read; "
                "use one of "
                f"{', '.join(f'{name}://' for name in _SOURCES)}, or the path of a file"
            )
        return _SOURCES[scheme]
    return _open_file if is_file(uri) else open_v4l2


def _open_file(uri: str, options: InputOptions, report: Report) -> FrameSource:
    path = path_of(uri)
    is_pattern = re.search(r"[*?\[]", path.name) is not None and path.parent.is_dir()
    if not path.exists() and not is_pattern:
        raise MediaError(f"there is no file or folder '{printable(without_password(uri))}'; {_what_there_is(path)}")
    if is_bag(path):
        from ros2_actionnet.media.bag_source import BagSource

        return BagSource(path, options, report)
    if path.is_dir() or is_image(path) or not path.exists():
        if options.save:
            raise MediaError(f"'{path}' is already saved; omit --input-save")
        return ImageSource(path, options, report)
    return VideoSource(str(path), options, report)


def _open_v4l2_url(uri: str, options: InputOptions, report: Report) -> FrameSource:
    return open_v4l2(uri.partition("://")[2], options, report)


def _open_csi_url(uri: str, options: InputOptions, report: Report) -> FrameSource:
    if options.save:
        raise MediaError(f"'{uri}' sends uncompressed video; save the output with --output-save instead")
    return open_csi(uri.partition("://")[2], options, report)


def _open_web(uri: str, options: InputOptions, report: Report) -> FrameSource:
    """Open a file on a web server, which ends, or else the stream of a camera."""
    if Path(urlsplit(uri).path).suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(uri, options, report)
    return open_stream(uri, options, report)  # which knows a recording by its duration


_SOURCES: dict[str, _OpenSource] = {
    "file": _open_file,
    "v4l2": _open_v4l2_url,
    "csi": _open_csi_url,
    **dict.fromkeys(INPUTS, open_stream),
    "http": _open_web,
    "https": _open_web,
    "webrtc": open_browser_camera,
}
"""The functions that open sources, by scheme."""


def _open_sink(
    uri: str, options: OutputOptions, source: FrameSource, details: RunDetails, report: Report
) -> ResultSink:
    scheme = scheme_of(uri)
    if scheme == "display" or uri == "display":
        return DisplaySink(source)
    if _is_served(uri):
        return ServedSink(uri, options, source, report)
    if scheme in OUTPUTS:
        return StreamSink(uri, options, source, report)
    if scheme not in ("", "file"):
        names = ", ".join(f"{name}://" for name in ("file", "display", *OUTPUTS, "webrtc"))
        raise MediaError(
            f"'{printable(without_password(uri))}' begins with {printable(scheme, 40)}://, which cannot be written; "
            f"use one of {names}, or a path"
        )
    path, suffix = str(path_of(uri)), path_of(uri).suffix.lower()
    if is_image_output(uri):
        return ImageSink(path + "/" * uri.endswith("/"), options)
    if suffix in CONTAINERS:
        return VideoSink(path, options, source, report)
    if suffix == ".mcap":
        from ros2_actionnet.media.bag_sink import BagSink

        while isinstance(source, (Flipped, Thinned)):  # the bag is copied unfiltered
            source = source.source
        return BagSink(path, source, details, options.bag_compression)
    raise MediaError(
        f"'{path}' ends in {suffix}, which cannot be written; use a video ({', '.join(CONTAINERS)}), an image "
        f"({', '.join(WRITABLE_SUFFIXES)}), a bag (.mcap) or a folder for images (no suffix)"
    )


class _Both:
    """Two sinks combined into one."""

    def __init__(self, first: ResultSink, second: ResultSink) -> None:
        self._sinks = first, second
        self.wants_pictures = first.wants_pictures or second.wants_pictures

    def write(self, result: ClassifiedFrame) -> None:
        for sink in self._sinks:
            sink.write(result)

    def close(self) -> None:
        first, second = self._sinks
        try:
            first.close()
        finally:
            second.close()


def is_file(uri: str) -> bool:
    """Return True if the input `uri` is a file or several, and no camera or stream."""
    scheme = scheme_of(uri)
    return scheme == "file" or (not scheme and not uri.isdigit() and not uri.startswith("/dev/video"))


def is_file_output(uri: str) -> bool:
    """Return True if the output `uri` is a file or a folder, and no window or stream."""
    return scheme_of(uri) in ("", "file") and uri not in ("", "display")


def is_image_output(uri: str) -> bool:
    """Return True if the output `uri` is an image or a folder of images."""
    path = path_of(uri)
    suffix = path.suffix.lower()
    return not suffix or suffix in WRITABLE_SUFFIXES or uri.endswith("/") or path.is_dir()


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in lower case, or "" if it is a path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    return match[1].lower() if match else ""


def _lower_scheme(uri: str) -> str:
    """Return `uri` with its scheme in lower case, as FFmpeg needs it."""
    scheme = scheme_of(uri)
    return scheme + uri[len(scheme) :]


def path_of(uri: str) -> Path:
    """Return the path of a file given by its URI or path."""
    if scheme_of(uri) != "file":
        return Path(uri)
    path = uri.partition("://")[2]
    return Path(path) if Path(path).exists() else Path(unquote(path))


def _what_there_is(path: Path) -> str:
    """Return a hint that names existing files similar to a missing path."""
    folder = path.parent
    if not folder.is_dir():
        return f"the folder '{printable(folder)}' does not exist either"
    names = sorted(entry.name for entry in folder.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3)
    return f"did you mean {' or '.join(repr(str(folder / name)) for name in near)}?" if near else "check its name"
