from __future__ import annotations

from ros2_actionnet.recognition.frame_clock import FrameClock


def times(stamps: list[int | None]) -> list[int]:
    """Return the times of frames that arrive at 1000, 1001, ..."""
    clock = FrameClock()
    return [clock.time(stamp, 1000 + index) for index, stamp in enumerate(stamps)]


def test_a_frame_has_the_time_of_its_stamp() -> None:
    assert times([5, 6, 7, 3]) == [5, 6, 7, 3]


def test_an_empty_stamp_gives_way_to_the_arrival_and_tells_nothing_of_the_others() -> None:
    assert times([None, None, 7, None, 8]) == [1000, 1001, 7, 1003, 8]


def test_a_few_repeated_stamps_are_taken_as_they_are() -> None:
    stamps: list[int | None] = [stamp for stamp in range(10) for _ in range(5)]
    assert times(stamps) == stamps


def test_a_stamp_repeated_five_times_gives_way_to_the_arrival() -> None:
    assert times([7] * 8) == [7, 7, 7, 7, 7, 1005, 1006, 1007]


def test_whole_seconds_stay_distrusted_until_every_stamp_changes() -> None:
    stamps: list[int | None] = [stamp for stamp in range(4) for _ in range(10)]
    assert times([*stamps, 50, 51, 52, 53, 54, 55])[5:] == [*range(1005, 1044), 54, 55]
