"""Which images leave with which detections, when, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ros2_actionnet.recognition.subjects.detections import FrameDetections
from ros2_actionnet.recognition.subjects.matcher import DetectionMatcher, Match

DELAY = 0.3


def seen(stamp: int) -> FrameDetections:
    return FrameDetections(stamp, ())


def leaving(matches: list[Match[int]]) -> list[tuple[int, int | None]]:
    """Each image, and the stamp of its detections."""
    return [(match.image, match.detections.stamp if match.detections else None) for match in matches]


def test_an_image_waits_for_the_detections_of_its_stamp() -> None:
    matcher = DetectionMatcher[int](DELAY)
    assert matcher.add_image(10, 0, 100, now=0.0) == []
    assert matcher.waiting_bytes == 100
    assert leaving(matcher.add_detections(seen(10), now=0.1)) == [(0, 10)]
    assert (matcher.matched, matcher.unmatched, matcher.waiting_bytes) == (1, 0, 0)


def test_detections_of_another_stamp_do_not_match() -> None:
    matcher = DetectionMatcher[int](DELAY)
    matcher.add_image(10, 0, 100, now=0.0)
    assert matcher.add_detections(seen(11), now=0.1) == []


def test_an_image_leaves_without_detections_after_the_delay_and_they_are_late() -> None:
    matcher = DetectionMatcher[int](DELAY)
    matcher.add_image(10, 0, 100, now=0.0)
    assert matcher.deadline == DELAY
    assert matcher.expire(0.29) == []
    assert leaving(matcher.expire(0.3)) == [(0, None)]
    assert matcher.add_detections(seen(10), now=0.31) == []
    assert (matcher.matched, matcher.unmatched, matcher.late) == (0, 1, 1)


def test_images_before_one_with_detections_leave_with_it() -> None:
    matcher = DetectionMatcher[int](DELAY)
    for number in range(4):
        matcher.add_image(number, number, 100, now=0.01 * number)
    assert leaving(matcher.add_detections(seen(2), now=0.1)) == [(0, None), (1, None), (2, 2)]
    assert matcher.waiting_bytes == 100


def test_detections_that_come_before_their_image_are_kept_for_it() -> None:
    matcher = DetectionMatcher[int](DELAY)
    assert matcher.add_detections(seen(10), now=0.0) == []
    assert leaving(matcher.add_image(10, 0, 100, now=0.1)) == [(0, 10)]


def test_detections_without_an_image_are_forgotten() -> None:
    matcher = DetectionMatcher[int](DELAY)
    matcher.add_detections(seen(10), now=0.0)
    assert matcher.add_image(10, 0, 100, now=0.4) == []


def test_more_bytes_than_allowed_let_the_oldest_images_go() -> None:
    matcher = DetectionMatcher[int](DELAY, max_bytes=250)
    matcher.add_image(0, 0, 100, now=0.0)
    matcher.add_image(1, 1, 100, now=0.0)
    assert leaving(matcher.add_image(2, 2, 100, now=0.0)) == [(0, None)]


def test_a_recording_that_starts_again_is_matched_again() -> None:
    matcher = DetectionMatcher[int](DELAY)
    for stamp in (10, 20):
        matcher.add_image(stamp, stamp, 100, now=0.0)
    matcher.expire(1.0)
    assert matcher.add_image(10, 30, 100, now=1.1) == []
    assert leaving(matcher.add_detections(seen(10), now=1.2)) == [(30, 10)]
    assert matcher.late == 0


def test_nothing_is_left_after_clear() -> None:
    matcher = DetectionMatcher[int](DELAY)
    matcher.add_image(10, 0, 100, now=0.0)
    matcher.clear()
    assert matcher.expire(9.0) == []
    assert (matcher.waiting_bytes, matcher.deadline) == (0, None)


@dataclass(frozen=True)
class Camera:
    """Images every 0.1 s of which some are lost; detections `delays` (s) after the image was taken, None for never."""

    delays: list[float | None]
    lost: list[bool]


cameras = st.lists(st.tuples(st.none() | st.floats(-0.05, 0.6), st.booleans()), min_size=1, max_size=40).map(
    lambda rows: Camera([delay for delay, _ in rows], [lost for _, lost in rows])
)


@given(cameras, st.floats(0.001, 0.5), st.integers(100, 1000))
def test_every_image_leaves_once_in_order_in_time_and_with_its_own_detections(
    camera: Camera, delay: float, max_bytes: int
) -> None:
    matcher = DetectionMatcher[int](delay, max_bytes)
    acts: list[tuple[float, int, int]] = []
    for number, (late, lost) in enumerate(zip(camera.delays, camera.lost, strict=True)):
        if not lost:
            acts.append((0.1 * number, 0, number))
        if late is not None:
            acts.append((0.1 * number + late, 1, number))
    left: list[tuple[int, int | None]] = []
    for now, kind, number in sorted(acts):
        while matcher.deadline is not None and matcher.deadline <= now:  # as a timer would
            deadline = matcher.deadline
            found = leaving(matcher.expire(deadline))
            assert found
            left += found
        if kind == 0:
            left += leaving(matcher.add_image(number, number, 100, now))
        else:
            left += leaving(matcher.add_detections(seen(number), now))
        assert matcher.waiting_bytes <= max_bytes
        assert matcher.deadline is None or now < matcher.deadline <= now + delay
    left += leaving(matcher.expire(1e9))
    images = [number for number, lost in enumerate(camera.lost) if not lost]
    assert [image for image, _ in left] == images
    assert all(stamp in (None, image) for image, stamp in left)
    assert matcher.matched == sum(stamp is not None for _, stamp in left)
    assert matcher.matched + matcher.unmatched == len(images)
    assert matcher.waiting_bytes == 0


@given(st.lists(st.floats(0.02, 0.29), min_size=1, max_size=40))
def test_a_detector_that_answers_in_order_and_in_time_is_always_matched(delays: list[float]) -> None:
    matcher = DetectionMatcher[int](DELAY)
    acts = [(0.1 * number, 0, number) for number in range(len(delays))]
    answered = 0.0
    for number, delay in enumerate(delays):
        answered = max(answered, 0.1 * number + delay)
        acts.append((answered, 1, number))
    for now, kind, number in sorted(acts):
        if kind == 0:
            matcher.add_image(number, number, 100, now)
        else:
            matcher.add_detections(seen(number), now)
    assert (matcher.matched, matcher.unmatched, matcher.late) == (len(delays), 0, 0)
