"""Progress of a load on a terminal and in a log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ros2_actionnet.cli.load_progress import LoadProgress


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to standard error, which is a terminal."""
    written: list[str] = []
    terminal: Any = SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None, encoding="utf-8")
    monkeypatch.setattr("sys.stderr", terminal)
    return written


def test_a_terminal_has_one_line_for_the_steps_and_a_bar_for_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    written = on_terminal(monkeypatch)
    with LoadProgress() as monitor:
        monitor.progress("building, 5 s so far")
        monitor.progress("building, 10 s so far")
        assert written == ["\rbuilding, 5 s so far\x1b[K", "\rbuilding, 10 s so far\x1b[K"]
        monitor.downloaded("resnet-18", 0, 300_000)
        monitor.downloaded("resnet-18", 300_000, 300_000)
        monitor.progress("unpacking resnet-18")
    text = "".join(written)
    assert "resnet-18" in text
    assert "0.00/300k" in text
    assert written[-2:] == ["\runpacking resnet-18\x1b[K", "\r\x1b[K"], "the line is cleared at the end"


def test_without_a_terminal_there_are_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with LoadProgress() as monitor:
        for done in range(100):
            monitor.downloaded("resnet-18", done * 1_000_000, 134_000_000)
        monitor.progress("unpacking resnet-18")
    assert capfd.readouterr().err == "downloading resnet-18, 0 of 134 MB\nunpacking resnet-18\n"


def test_a_quiet_one_writes_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with LoadProgress(quiet=True) as monitor:
        monitor.downloaded("resnet-18", 5, 10)
        monitor.progress("unpacking")
    assert capfd.readouterr().err == ""
