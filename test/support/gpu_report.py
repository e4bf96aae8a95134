"""The report of scripts/check-gpu: a pytest plugin that keeps a Markdown file up to date, check by check.

Whatever ends the process, a crash, the kernel for lack of memory, or a hang, the file names the check that ran. Works
with pytest 6.2, which Ubuntu 22.04 has.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RESULTS = {"passed": "ok", "failed": "**failed**", "skipped": "not done"}
FAILURE_CHARACTERS = 4000
TENSORRT_LINES = 60
TIMEOUT = 3600.0  # s, of one check; a Jetson may need many minutes to build an engine


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the report."""
    parser.addoption("--report", type=Path, default=None, metavar="FILE.md", help="add the results to this file")
    parser.addoption("--check-timeout", type=float, default=TIMEOUT, help="seconds after which a check counts as hung")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the report, if it is wanted."""
    file: Path | None = config.getoption("--report")
    if file is not None:
        head = file.read_text(encoding="utf-8") if file.exists() else ""
        # A copy, because pytest takes the place of stderr while a check runs.
        errors = os.dup(2)
        config.pluginmanager.register(Recorder(Report(file, head), config.getoption("--check-timeout"), errors))


@dataclass
class Report:
    """The state of the report; `write` replaces the file.

    Attributes:
        file: the report.
        head: text before the tables.
        running: title of the check that runs now.
        rows: title and result of each finished check.
        reasons: why checks were not done or failed, one line each; results have their numbers.
        failures: title and text of each failure.
        measured: what was measured, and the value with its unit.
        tensorrt: messages of TensorRT.
    """

    file: Path
    head: str = ""
    running: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    measured: list[tuple[str, str]] = field(default_factory=list)
    tensorrt: list[str] = field(default_factory=list)

    def add(self, report: Any) -> None:
        """Add a phase of a check, a pytest.TestReport."""
        for _, text in report.sections:
            for line in text.splitlines():
                known = line in self.tensorrt or len(self.tensorrt) >= TENSORRT_LINES
                if "TensorRT" in line and not known:
                    self.tensorrt.append(line[:500])
        if report.when != "call" and report.outcome == "passed":
            return
        result = RESULTS[report.outcome]
        if report.outcome != "passed":
            reason = _reason(report)
            self.reasons += [reason] if reason not in self.reasons else []
            result += f" ({self.reasons.index(reason) + 1})"
        if report.outcome == "failed":
            self.failures.append((title(report.nodeid), report.longreprtext[-FAILURE_CHARACTERS:]))
        self.rows.append((title(report.nodeid), result))
        self.measured += report.user_properties

    def write(self) -> None:
        """Write the file, to the disk itself: a machine may stop with the process."""
        rows = [*self.rows, *([(self.running, "**running**")] if self.running else [])]
        reasons = [f"{number}. {reason}" for number, reason in enumerate(self.reasons, 1)]
        parts = [self.head.rstrip(), _table("| check | |", "|---|---|", rows), "\n".join(reasons)]
        if self.measured:
            parts.append(_table("| measured | |", "|---|---:|", self.measured))
        parts += [f"### Failed: {name}\n\n```text\n{text}\n```" for name, text in self.failures]
        if self.tensorrt:
            parts.append("### What TensorRT printed\n\n```text\n" + "\n".join(self.tensorrt) + "\n```")
        with self.file.open("w", encoding="utf-8") as file:
            file.write("\n\n".join(part for part in parts if part) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Recorder:
    """Keeps `report` up to date, and ends the process with all threads' tracebacks on `errors` if a check hangs."""

    def __init__(self, report: Report, timeout: float, errors: int) -> None:
        self._report, self._timeout, self._errors = report, timeout, errors

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Note that a check runs."""
        self._report.running = title(item.nodeid)
        self._report.write()
        os.write(self._errors, f"\nrunning: {self._report.running}\n".encode())
        faulthandler.dump_traceback_later(self._timeout, exit=True, file=self._errors)
        yield
        faulthandler.cancel_dump_traceback_later()
        self._report.running = ""
        self._report.write()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what came of it."""
        self._report.add(report)


def title(nodeid: str) -> str:
    """Return the name of a check in words."""
    return nodeid.split("::")[-1].replace("test_", "", 1).replace("_", " ")


def _reason(report: Any) -> str:
    """Return in one line why a check was not done or failed."""
    if isinstance(report.longrepr, tuple):  # file, line, and why it was skipped
        return str(report.longrepr[2]).replace("Skipped: ", "", 1)
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr)).splitlines() or [""]
    return str(lines[0])[:300]


def _table(head: str, rule: str, rows: list[tuple[str, str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, rule, *lines])
