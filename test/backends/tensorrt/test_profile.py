"""The tables of stages and layers."""

from __future__ import annotations

import re

import pytest

from ros2_actionnet.backends import LoadOptions
from ros2_actionnet.backends.tensorrt import profile
from ros2_actionnet.backends.tensorrt.profile import profile_network
from ros2_actionnet.errors import BackendError
from support.fakes import make_network
from support.tensorrt_rig import TensorRTRig


@pytest.fixture(name="rig")
def rig_fixture(monkeypatch: pytest.MonkeyPatch) -> TensorRTRig:
    rig = TensorRTRig(layers=tuple(f"layer {number}" for number in range(30)))
    rig.install(monkeypatch)
    return rig


def table(text: str, title: str) -> list[tuple[str, ...]]:
    """The rows under `title`: ms, percent and name."""
    part = next(part for part in text.split("\n\n") if part.startswith(title))
    return [match.groups() for match in re.finditer(r"^ +([\d.]+) +([\d.]*)[ %]*(.*)$", part, re.MULTILINE)]


def test_it_says_what_was_measured_on_what(rig: TensorRTRig) -> None:
    text = profile_network(make_network("tiny", frames=2, size=16), LoadOptions(max_batch=2))
    assert text.startswith("tiny, fp16, batch 2, on GPU 0 (Orin) with TensorRT 10.3.0.30; ms, medians of 50\n\n")
    rig.cuda.assert_clean()


def test_the_stages_are_in_their_order_with_their_time_on_the_device(rig: TensorRTRig) -> None:
    """The double's clock counts pieces of work: copies, inferences, and marks."""
    text = profile_network(make_network("tiny", frames=2, size=16), LoadOptions(max_batch=2))
    assert [(row[0], row[2]) for row in table(text, "stages")] == [
        ("4.000", "a frame (768 bytes) into the ring"),
        ("4.000", "inference"),
        ("2.000", "scores back"),
    ]


def test_the_slowest_layers_come_first_and_the_sum_is_of_all(rig: TensorRTRig) -> None:
    rows = table(profile_network(make_network("tiny"), LoadOptions()), "the 20 slowest layers")
    assert rows[0] == ("29.500", "6.6", "layer 29")
    assert rows[19] == ("10.500", "2.3", "layer 10")
    assert rows[20] == ("450.000", "100.0", "all 30 layers, timed one by one")


def test_what_fails_on_the_way_leaves_nothing_behind(rig: TensorRTRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "RUNS", 1)
    monkeypatch.setattr(profile, "WARM_UP", 0)
    profile_network(make_network("tiny"), LoadOptions())
    rig.cuda.assert_clean()
    calls = rig.cuda.names()
    length = calls.index("free")
    marks = calls.index("Event", calls.index("create_execution_context"))
    for number in range(marks, length - 4):  # before `close`, which pushes the context and waits in three calls
        if calls[number] == "pop":
            continue
        rig.cuda.fail_at = len(rig.cuda.calls) + number - 2  # the primary context and plugins are there
        with pytest.raises(BackendError):
            profile_network(make_network("tiny"), LoadOptions())
        rig.cuda.assert_clean()
