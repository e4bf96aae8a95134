"""Progress of a load on a terminal: a bar for downloads, one line kept up to date for other steps."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from ros2_actionnet.load_monitor import DownloadInWords
from ros2_actionnet.system.text import printable


class LoadProgress:
    """A LoadMonitor that writes to standard error; line after line if that is not a terminal.

    It never cancels: Ctrl-C ends the command.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._pending = False  # whether a line waits to be replaced
        self._bar: Any = None
        self._in_words = DownloadInWords(self.progress)

    def progress(self, what: str) -> None:
        """Show the current step."""
        if self._quiet:
            return
        self._close_bar()
        what = printable(what)
        sys.stderr.write(f"\r{what}\x1b[K" if self._is_terminal else f"{what}\n")
        sys.stderr.flush()
        self._pending = self._is_terminal

    def downloaded(self, name: str, done: int, total: int) -> None:
        """Move the bar; without a terminal or tqdm, write a line every few seconds."""
        if self._quiet:
            return
        if self._bar is None and self._is_terminal:
            self.close()
            with suppress(ImportError):  # the bar is optional
                from tqdm import tqdm

                self._bar = tqdm(desc=name, total=total or None, unit="B", unit_scale=True, leave=False)
        if self._bar is None:
            self._in_words(name, done, total)
            return
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)

    def cancelled(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Clear the line and the bar."""
        self._close_bar()
        if self._pending:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._pending = False

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> LoadProgress:
        """The object itself; leaving the `with` block clears what it has shown."""
        return self

    def __exit__(self, *error: object) -> None:
        """Clears what it has shown."""
        self.close()
