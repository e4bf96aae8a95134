"""The place in the window of frames that did not reach it goes to the next frame that does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.recognition.sampling import MissedFrames, Sample

SAMPLES = st.builds(Sample, steps=st.integers(1, 5), restart=st.booleans())


def test_with_none_missed_a_frame_keeps_its_place() -> None:
    assert MissedFrames().combined_with(Sample(steps=2)) == Sample(steps=2)


def test_missed_places_are_handed_over_once() -> None:
    missed = MissedFrames()
    missed.add(Sample(steps=2))
    missed.add(Sample())
    assert missed.combined_with(Sample()) == Sample(steps=4)
    assert missed.combined_with(Sample()) == Sample()


def test_a_missed_restart_is_made_up_for_with_its_reason() -> None:
    missed = MissedFrames()
    missed.add(Sample(restart=True, reason="gap"))
    assert missed.combined_with(Sample(steps=3)) == Sample(steps=4, restart=True, reason="gap")


def test_cleared_places_are_gone() -> None:
    missed = MissedFrames()
    missed.add(Sample(steps=7))
    missed.clear()
    assert missed.combined_with(Sample()) == Sample()


@given(st.lists(SAMPLES, min_size=1))
def test_the_window_moves_as_far_as_if_no_frame_had_been_missed(samples: list[Sample]) -> None:
    missed = MissedFrames()
    for sample in samples[:-1]:
        missed.add(sample)
    place = missed.combined_with(samples[-1])
    since = max((i for i, sample in enumerate(samples) if sample.restart), default=0)
    assert place.restart == any(sample.restart for sample in samples)
    assert place.steps == sum(sample.steps for sample in samples[since:])
