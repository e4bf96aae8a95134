"""HTTP downloads that resume after a cut connection, report progress and can be cancelled."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, end_if_cancelled, megabytes
from ros2_actionnet.system.addresses import without_password, without_passwords
from ros2_actionnet.system.text import printable

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


def download(url: str, file: Path, progress: Progress) -> None:
    """Download `url` to `file`, resuming after the bytes that it has already; proxies are those of the environment.

    Data received before a failure stays in `file`, for the next call.

    Raises:
        NetworkError: the server cannot be reached, does not have the file or keeps failing; or requests is missing.
        LoadCancelled: the load has been cancelled.
        OSError: the file cannot be written.
    """
    try:
        from requests import RequestException
    except ImportError as error:
        raise NetworkError(
            "downloads need the Python package requests: apt install python3-requests, or pip install requests "
            f"({error})"
        ) from error
    most, failures = _size(file), 0
    while True:
        try:
            return _attempt(url, file, progress)
        except (RequestException, _CutShort) as error:
            reason = without_passwords(_reason(error), url)
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
        is_receiving = True
        while is_receiving:  # reported at least once, however fast it is
            reception.join(0.1)
            is_receiving = reception.is_alive()
            progress.at(reception.received, reception.expected)
    finally:
        reception.abandoned = True
    progress.at(reception.received, reception.expected)
    if reception.error is not None:
        raise reception.error


class _CutShort(Exception):  # noqa: N818
    """A connection that ended before the file was complete."""


class _Reception(threading.Thread):
    """Downloads `url`, or the missing part of it, to a file.

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

    def run(self) -> None:
        """Download; store an exception in `error`."""
        try:
            with self._path.open("ab") as file:
                self.received = file.tell()
                self._receive(file)
        except Exception as error:
            self.error = error

    def _receive(self, file: BinaryIO) -> None:
        import requests

        headers = {"Accept-Encoding": "identity"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
        with requests.get(self._url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if not self._prepare(file, response):
                return
            response.raise_for_status()
            response.raw.headers.pop("Content-Encoding", None)  # keep a .tar.gz compressed
            for data in response.iter_content(_CHUNK):
                if self.abandoned:
                    raise _CutShort
                file.write(data)
                self.received += len(data)
                self._refuse_above_limit(self.received)
        if self.received < self.expected:  # older versions of urllib3 do not raise
            raise _CutShort

    def _prepare(self, file: BinaryIO, response: Any) -> bool:
        """Prepare the file for the body of a response; return False if it is complete already."""
        ranges = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and ranges and ranges[1] == str(self.received):
            self.expected = int(ranges[2])
        elif response.status_code == 416 and ranges and ranges[2] == str(self.received):
            return False
        elif response.status_code in (200, 206, 416):  # from the start, or not the requested range
            if self.received:
                file.truncate(0)
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
        return True

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
    cause = printable(system[1] if system else text)
    match error:
        case HTTPError():
            return f"the server answers {error.response.status_code} {printable(error.response.reason, 80)}"
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
