from __future__ import annotations

import pytest

from ros2_actionnet.cli.console import Outcome, batch_table, report
from ros2_actionnet.media.stages import Statistics


def test_a_line_about_the_run_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report("topic /cam\x1b[2J\x07 is left out")
    assert capsys.readouterr().err == "actionnet: topic /cam\\x1b[2J\\x07 is left out\n"


def test_a_label_in_the_table_of_a_batch() -> None:
    table = batch_table([Outcome("a.mp4", Statistics(10, 2, 0, 0, 0, 0, False, {}), seconds=2.0, most="walk\x1b[31m")])
    assert table.splitlines()[1].split() == ["a.mp4", "10", "2", "5.0", r"walk\x1b[31m"]
