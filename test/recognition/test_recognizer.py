from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.errors import ImageError, SettingsError
from ros2_actionnet.images.raw_image import RawImage
from ros2_actionnet.media.base import MediaFrame
from ros2_actionnet.recognition.events import EventType
from ros2_actionnet.recognition.frame_header import nanoseconds
from ros2_actionnet.recognition.recognizer import Recognized, Recognizer
from ros2_actionnet.recognition.stopwatch import Stopwatch
from ros2_actionnet.settings import Settings
from support.fakes import FakeSession, grey_image, make_network


def recognizer(**settings: object) -> tuple[Recognizer, FakeSession]:
    session = FakeSession(make_network(frames=4))
    return Recognizer(session, Settings.from_values({"skip_frames": 0, **settings})), session


def frame(index: int, stamp: float | None = None, image: RawImage | None = None) -> MediaFrame:
    time = index / 10 if stamp is None else stamp
    return MediaFrame(index, time, nanoseconds(time), image or grey_image(index))


def unexpected(frame: MediaFrame, error: ImageError) -> None:
    raise AssertionError(f"frame {frame.index}: {error}")


def one_by_one(subject: Recognizer, *frames: MediaFrame) -> list[Recognized[MediaFrame]]:
    return [result for item in frames for result in subject.recognize([item], unexpected)]


def test_a_prediction_names_its_window_by_the_source_s_own_indices() -> None:
    subject, session = recognizer(skip_frames=1)
    # The source could not decode frames 3 and 4: the first window is of frames 0, 2, 6 and 8.
    results = one_by_one(subject, *(frame(index) for index in (0, 1, 2, 5, 6, 7, 8)))
    assert session.windows == [[0, 2, 6, 8]]
    assert [result.is_new for result in results] == [False] * 6 + [True]
    prediction = results[-1].prediction
    assert prediction is not None
    assert (prediction.first_frame, prediction.frame) == (0, 8)


def test_a_skipped_frame_repeats_the_last_prediction() -> None:
    subject, _ = recognizer(skip_frames=1)
    results = one_by_one(subject, *(frame(index) for index in range(8)))
    assert results[7].prediction is results[6].prediction is not None
    assert not results[7].is_new


def test_settings_reach_the_prediction() -> None:
    subject, session = recognizer(threshold=0.25, top_k=1, class_filter=["lively"])
    session.scores = [0.7, 0.3]
    prediction = one_by_one(subject, *map(frame, range(4)))[-1].prediction
    assert prediction is not None
    (result,) = prediction.top()
    assert result.label == "lively"
    assert result.score == pytest.approx(0.3)


def test_a_class_filter_that_names_no_class_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'lively'"):
        recognizer(class_filter=["livly"])


def test_events_begin_and_end_with_their_frames() -> None:
    subject, session = recognizer(event_min_duration=0.2)
    results = one_by_one(subject, *map(frame, range(6)))
    session.scores = [0.0, 1.0]
    results += one_by_one(subject, *map(frame, range(6, 10)))
    events = [(result.frame.index, event.type, event.class_index) for result in results for event in result.events]
    assert events == [(5, EventType.BEGAN, 0), (6, EventType.ENDED, 0), (8, EventType.BEGAN, 1)]


def test_of_a_network_for_several_actions_at_once_each_is_reported_and_has_its_events() -> None:
    subject, session = recognizer(event_min_duration=0, threshold=0.5)
    session.scores = [0.9, 0.8]  # a sigmoid's: they do not sum to 1
    results = one_by_one(subject, *map(frame, range(5)))
    assert results[-1].prediction is not None
    assert [item.label for item in results[-1].prediction.top()] == ["calm", "lively"]
    assert [item.score for item in results[-1].prediction.top()] == pytest.approx([0.9, 0.8])
    session.scores = [0.9, 0.1]
    results += one_by_one(subject, frame(5))
    events = [(result.frame.index, event.type, event.class_index) for result in results for event in result.events]
    assert events == [(3, EventType.BEGAN, 0), (3, EventType.BEGAN, 1), (5, EventType.ENDED, 1)]


def test_an_action_whose_label_two_outputs_share_is_one_event() -> None:
    session = FakeSession(make_network(labels=("run", "walk", "run"), frames=4))
    subject = Recognizer(session, Settings(skip_frames=0, event_on=0.6, event_min_duration=0.0))
    session.scores = [0.4, 0.2, 0.4]
    results = one_by_one(subject, *map(frame, range(4)))
    session.scores = [0.1, 0.2, 0.7]
    results += one_by_one(subject, *map(frame, range(4, 6)))
    events = [event for result in results for event in result.events]
    assert [(event.type, event.class_index) for event in events] == [(EventType.BEGAN, 0)]
    prediction = results[-1].prediction
    assert prediction is not None
    assert [(result.label, round(result.score, 3)) for result in prediction.top()] == [("run", 0.8), ("walk", 0.2)]
    assert np.allclose(prediction.scores, [0.1, 0.2, 0.7])


def test_a_gap_empties_the_window_and_ends_what_went_on() -> None:
    subject, _ = recognizer(event_min_duration=0, max_gap=0.5)
    one_by_one(subject, *map(frame, range(5)))
    first, result = one_by_one(subject, frame(5, stamp=3.0), frame(6, stamp=3.1))
    assert first.prediction is not None, "a jump is believed once the next frame goes on from it"
    assert result.prediction is None
    assert [event.type for event in result.events] == [EventType.ENDED]
    assert subject.annotation().status == "filling window 1/4"


def test_a_late_frame_is_left_out_and_counted() -> None:
    subject, session = recognizer(event_min_duration=0)
    frames = [frame(0), frame(1), frame(2, stamp=0.05), frame(3), frame(4), frame(5), frame(6, stamp=0.45)]
    results = one_by_one(subject, *frames)
    assert session.windows == [[0, 1, 3, 4], [1, 3, 4, 5]]
    prediction = results[-1].prediction
    assert prediction is not None
    assert prediction is results[-2].prediction
    assert prediction.first_frame == 1
    assert (subject.late, subject.restarts, subject.sampled) == (2, 0, 5)
    subject.reset()
    assert subject.late == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(0, 2), st.integers(1, 3))
def test_windows_predictions_and_events_are_those_without_the_late_frames(
    stream: list[tuple[int, bool]], skip_frames: int, infer_every: int
) -> None:
    tenths, in_order, as_it_came = 0, list[MediaFrame](), list[MediaFrame]()
    intervals = [interval for interval, _ in stream] + [0]
    for index, (interval, is_followed_by_a_late_one) in enumerate(stream):
        tenths += interval
        in_order.append(frame(index, stamp=tenths / 10))
        as_it_came.append(in_order[-1])
        # Not beside a gap, which is itself out of line.
        if is_followed_by_a_late_one and max(interval, intervals[index + 1]) <= 7:
            as_it_came.append(frame(99, stamp=tenths / 10 - 0.05))
    seen = []
    for frames in (in_order, as_it_came):
        subject, session = recognizer(
            skip_frames=skip_frames, infer_every=infer_every, max_gap=0.7, smoothing=2, event_min_duration=0.1
        )
        results = [result for result in one_by_one(subject, *frames) if result.frame.index != 99]
        spans = [result.prediction and (result.prediction.first_frame, result.prediction.frame) for result in results]
        seen.append((session.windows, spans, [(result.is_new, result.events) for result in results]))
    assert seen[0] == seen[1]


def test_where_only_late_frames_came_the_remedy_says_so() -> None:
    subject, _ = recognizer(max_gap=100)
    one_by_one(subject, frame(0, stamp=50.0), *(frame(index, stamp=index / 10) for index in range(1, 4)))
    assert "3 frames were left out, whose stamps do not go on from those before" in subject.remedy()


def test_what_is_drawn() -> None:
    subject, session = recognizer()
    one_by_one(subject, frame(0), frame(1))
    drawn = subject.annotation()
    assert (drawn.lines, drawn.fill, drawn.status) == ((), 0.5, "filling window 2/4")
    session.scores = [0.25, 0.75]
    one_by_one(subject, frame(2), frame(3))
    drawn = subject.annotation()
    assert [(line.label, line.score) for line in drawn.lines] == [("lively", 0.75), ("calm", 0.25)]
    assert drawn.fill == 1


def test_after_a_reset_nothing_is_left_of_the_last_source() -> None:
    subject, session = recognizer(event_min_duration=0)
    assert one_by_one(subject, *map(frame, range(6)))[-1].prediction is not None
    subject.reset()
    assert (subject.windows, subject.sampled, subject.thumbnail.count) == (0, 0, 0)
    results = one_by_one(subject, *map(frame, range(40, 44)))
    assert [result.prediction is None for result in results] == [True, True, True, False]
    assert results[0].events == ()
    assert session.windows[-1] == [40, 41, 42, 43]


@pytest.mark.parametrize(
    ("settings", "interval", "words"),
    [
        ({}, 0.1, "3 of its frames were sampled and 4 are needed; give a longer input, or --warmup repeat"),
        ({"skip_frames": 1}, 0.1, "2 of its frames were sampled and 4 are needed; give a longer input, a smaller"),
        ({"skip_frames": 1}, 0.1, "a smaller --skip-frames than 1, or --warmup repeat"),
        ({"sample_rate": 10.0}, 0.1, "a larger --sample-rate than 10, or --warmup repeat"),
        ({}, 2.0, "frames were more than 1 s apart, or time ran backwards: give a larger --max-gap"),
    ],
)
def test_why_there_was_no_window(settings: dict[str, object], interval: float, words: str) -> None:
    subject, _ = recognizer(**settings)
    one_by_one(subject, *(frame(index, stamp=index * interval) for index in range(3)))
    assert words in subject.remedy()


def test_the_frame_before_holds_for_one_that_cannot_be_understood() -> None:
    reports: list[int] = []
    subject, session = recognizer()
    broken = frame(2, image=RawImage(np.zeros(3, np.uint8), 4, 4, 12, "rgb8"))
    for item in (frame(0), frame(1), broken, frame(3), frame(4)):
        list(subject.recognize([item], lambda frame, error: reports.append(frame.index)))
    assert session.windows == [[0, 1, 1, 3], [1, 1, 3, 4]]
    assert reports == [2]
    assert subject.broken == 1


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with watch:
            pass
    assert watch.count == 3
    assert 0 < watch.seconds < 1
