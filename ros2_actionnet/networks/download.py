"""HTTP downloads that resume after a cut connection, report progress and can be cancelled."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, end_if_cancelled, megabytes

MAX_SIZE = 4_000_000_000
"""Bytes; a larger file is rejected as a mistake. jetson-inference's networks have some 130 million."""

ATTEMPTS = 4  # consecutive attempts without new data
_FIRST_PAUSE = 1.0  # s, before the first retry; doubled for each further one
_TIMEOUT = (10.0, 30.0)  # s, for connecting, and between two pieces of data
_CHUNK = 1 << 13  # bytes; an incomplete chunk is lost when a connection is cut


class Progress:
    """Reports the progress of a fetch to a monitor, and ends it when the monitor cancels."""

    def __init__(self, name: str, monitor: LoadMonitor = UNMONITORED) -> None:
        self.name = name
        self._monitor = monitor

    def say(self, what: str) -> None:
        """Report the current step; raise LoadCancelled if the load has been cancelled."""
        self.check()
        self._monitor.progress(what)

    def check(self) -> None:
        """Raise LoadCancelled if the load has been cancelled."""
        end_if_cancelled(self._monitor, self.name)

    def at(self, done: int, total: int) -> None:
        """Report the bytes received so far, of how many (0: unknown). Raises LoadCancelled as `check` does."""
        self.check()
        self._monitor.downloaded(self.name, done, total)

    def pause(self, seconds: float) -> None:
        """Wait; raise LoadCancelled as soon as `check` would."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))


def without_password(url: str) -> str:
    """Return `url` without a user name and password, for display."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def download(url: str, file: Path, progress: Progress) -> None:
    """Download `url` to `file`, resuming after the bytes that it has already; proxies are those of the environment.

    Data received before a failure stays in `file`, for the next call.

    Raises:
        NetworkError: the server cannot be reached, does not have the file or keeps failing, or pooch is not installed.
        LoadCancelled: the load has been cancelled.
        OSError: the file cannot be written.
    """
    try:
        import pooch  # noqa: F401
        from requests import RequestException
    except ImportError as error:
        raise NetworkError(f"downloads need the Python package pooch: pip install pooch ({error})") from error
    most, failures = _size(file), 0
    while True:
        try:
            return _attempt(url, file, progress)
        except (RequestException, _CutShort) as error:
            reason = _reason(error)
            if not _may_pass(error):
                raise NetworkError(f"{without_password(url)}: {reason}") from error
            failures = failures + 1 if _size(file) <= most else 1
            most = max(most, _size(file))
            if failures >= ATTEMPTS:
                raise NetworkError(f"{without_password(url)}: {reason} (tried {ATTEMPTS} times)") from error
        progress.say(f"{urlsplit(url).hostname}: {reason}; trying again ({failures} of {ATTEMPTS - 1})")
        progress.pause(_FIRST_PAUSE * 2 ** (failures - 1))


def _attempt(url: str, file: Path, progress: Progress) -> None:
    """Make one attempt. Raises the exceptions of `requests`, or _CutShort, and otherwise as `download` does."""
    reception = _Reception(url, file)
    reception.start()
    try:
        while reception.is_alive():
            reception.join(0.1)
            progress.at(reception.received, reception.expected)
    finally:
        reception.abandoned = True
    progress.at(reception.received, reception.expected)
    if reception.error is not None:
        raise reception.error


class _CutShort(Exception):  # noqa: N818
    """A connection that ended before the file was complete."""


class _Reception(threading.Thread):
    """Downloads `url`, or the missing part of it, to a file; pooch uses this object as that file.

    Runs in a separate thread, because an unresponsive name server or connection cannot be interrupted: a caller that
    stops waiting abandons the thread, which then writes nothing more.
    """

    def __init__(self, url: str, path: Path) -> None:
        super().__init__(name="download", daemon=True)
        self.received = 0  # bytes in the file
        self.expected = 0  # bytes of the whole file; 0: unknown
        self.abandoned = False
        self.error: Exception | None = None
        self._url = url
        self._path = path
        self._file: Any = None
        self._was_whole = False

    def run(self) -> None:
        """Download; store an exception in `error`."""
        try:
            with self._path.open("ab") as self._file:
                self.received = self._file.tell()
                self._receive()
        except Exception as error:
            self.error = error

    def write(self, data: bytes) -> None:
        """Write a piece of data."""
        if self.abandoned:
            raise _CutShort
        self._file.write(data)
        self.received += len(data)
        self._refuse_above_limit(self.received)

    def flush(self) -> None:
        """Do nothing: data is not buffered for long."""

    def _receive(self) -> None:
        from pooch import HTTPDownloader
        from requests import HTTPError

        headers = {"Accept-Encoding": "identity"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
        hooks = {"response": self._on_response}
        try:
            HTTPDownloader(chunk_size=_CHUNK, timeout=_TIMEOUT, headers=headers, hooks=hooks)(self._url, self, None)
        except HTTPError:
            if not self._was_whole:
                raise
        if self.received < self.expected:  # older versions of urllib3 do not raise
            raise _CutShort

    def _on_response(self, response: Any, **_: Any) -> None:
        """Check a response before its body is read, and prepare the file for it."""
        response.raw.headers.pop("Content-Encoding", None)  # keep a .tar.gz compressed
        ranges = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and ranges and ranges[1] == str(self.received):
            self.expected = int(ranges[2])
        elif response.status_code == 416 and ranges and ranges[2] == str(self.received):
            self._was_whole = True
        elif response.status_code in (200, 206, 416):  # from the start, or not the requested range
            if self.received:
                self._file.truncate(0)
                self.received = 0
            if response.status_code != 200:
                raise _CutShort
            self.expected = int(response.headers.get("Content-Length") or 0)
        self._refuse_above_limit(self.expected)
        free = shutil.disk_usage(self._path.parent).free
        if self.expected - self.received > free:
            raise NetworkError(
                f"{self._path.parent} has no room for {megabytes(self.expected)}: {megabytes(free)} are free. Free "
                "some, or set ACTIONNET_NETWORKS to a folder elsewhere"
            )

    def _refuse_above_limit(self, size: int) -> None:
        if size > MAX_SIZE:
            raise NetworkError(f"{without_password(self._url)}: more than {megabytes(MAX_SIZE)}, which is no network")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _may_pass(error: Exception) -> bool:
    """Return True if a retry may succeed."""
    from requests import HTTPError
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, SSLError, TooManyRedirects

    if isinstance(error, HTTPError):
        return error.response.status_code in (408, 416, 425, 429) or error.response.status_code >= 500
    return not isinstance(error, InvalidSchema | InvalidURL | MissingSchema | SSLError | TooManyRedirects)


def _reason(error: Exception) -> str:
    """Return a readable reason for an error, without the three layers in which requests wraps it."""
    from requests import HTTPError
    from requests.exceptions import ConnectTimeout, ProxyError, SSLError

    text = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    cause = system[1] if system else text
    match error:
        case HTTPError():
            return f"the server answers {error.response.status_code} {error.response.reason}"
        case ProxyError():
            return f"the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY) cannot be used ({cause})"
        case ConnectTimeout():
            return f"no answer within {_TIMEOUT[0]:.0f} s"
        case SSLError():
            return f"the server's certificate is not accepted ({cause})"
    if "timed out" in text:
        return f"nothing came for {_TIMEOUT[1]:.0f} s"
    if isinstance(error, _CutShort) or "IncompleteRead" in text:
        return "the connection was cut"
    return f"no connection ({cause})"
