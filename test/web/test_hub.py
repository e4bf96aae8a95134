"""What a viewer is given: all it has to know at first, the newest frame, and never more than fits."""

from __future__ import annotations

import json
import struct
from typing import Any

from ros2_actionnet.web.hub import (
    HISTORY,
    IN_FLIGHT,
    LARGEST_FRAME,
    MOST_EVENTS,
    MOST_SCORES,
    MOST_WAITING,
    Hub,
    Viewer,
)


def join(hub: Hub) -> Viewer:
    viewer = hub.join(lambda: None)
    assert viewer is not None
    return viewer


def messages(viewer: Viewer) -> list[dict[str, Any]]:
    return [json.loads(text) for text in viewer.take()[0]]


def frames(viewer: Viewer) -> list[tuple[int, float, bytes]]:
    return [(*struct.unpack(">Id", frame[:12]), frame[12:]) for frame in viewer.take()[1]]


def test_who_comes_later_is_told_all_that_holds() -> None:
    hub = Hub()
    hub.retain("a", {"type": "nodes", "nodes": 1})
    hub.retain("a", {"type": "nodes", "nodes": 2})
    hub.retain("b", {"type": "health"})
    hub.forget("b")
    hub.scores(1, 10.0, [("walk", 0.5)])
    hub.scores(1, 10.5, [("run", 0.25)])
    hub.event(1, {"label": "walk"})
    assert messages(join(hub)) == [
        {"type": "nodes", "nodes": 2},
        {"type": "history", "stream": 1, "scores": [[10.0, [["walk", 0.5]]], [10.5, [["run", 0.25]]]]},
        {"type": "event", "stream": 1, "label": "walk"},
    ]


def test_what_is_the_same_is_not_sent_again() -> None:
    hub = Hub()
    viewer = join(hub)
    for _ in range(3):
        hub.retain("a", {"type": "nodes", "nodes": 1})
    assert len(messages(viewer)) == 1


def test_the_history_is_two_minutes_and_begins_anew_with_time() -> None:
    hub = Hub()
    for index in range(30 * 200):
        hub.scores(1, index / 30, [("walk", 0.5)])
    (history,) = messages(join(hub))
    times = [time for time, _ in history["scores"]]
    assert len(times) <= MOST_SCORES
    assert times[-1] - times[0] <= HISTORY
    assert times[0] < 200 - 0.9 * HISTORY
    hub.scores(1, 3.0, [])
    assert messages(join(hub))[0]["scores"] == [[3.0, []]]
    hub.forget_stream(1)
    assert messages(join(hub)) == []


def test_numbers_that_json_does_not_have_are_left_out() -> None:
    hub = Hub()
    viewer = join(hub)
    hub.scores(1, 1.0, [("walk", float("nan")), ("run", float("inf"))])
    assert messages(viewer)[0]["results"] == [["walk", None], ["run", None]]


def test_only_the_newest_frame_waits_and_only_for_who_watches() -> None:
    hub = Hub()
    watching, other = join(hub), join(hub)
    hub.watch(watching, frozenset({1}))
    for number in range(100):
        hub.frame(1, float(number), bytes([number]))
        hub.frame(2, float(number), b"another stream")
    assert frames(watching) == [(1, 99.0, bytes([99]))]
    assert frames(other) == []


def test_a_viewer_that_does_not_draw_is_sent_no_more_and_then_the_newest() -> None:
    hub = Hub()
    viewer = join(hub)
    hub.watch(viewer, frozenset({1}))
    sent = []
    for number in range(50):
        hub.frame(1, float(number), b"x")
        sent += frames(viewer)
    assert [time for _, time, _ in sent] == [float(number) for number in range(IN_FLIGHT)]
    viewer.drawn(1)
    assert frames(viewer) == [(1, 49.0, b"x")]
    for _ in range(10):
        viewer.drawn(1)  # more than there were: no credit
    for number in range(IN_FLIGHT + 1):
        hub.frame(1, 100.0 + number, b"x")
        sent += frames(viewer)
    assert len(sent) == 2 * IN_FLIGHT


def test_a_viewer_that_takes_nothing_is_too_slow_and_holds_nothing() -> None:
    hub = Hub()
    viewer = join(hub)
    for number in range(MOST_WAITING + 10):
        hub.scores(1, float(number), [])
    assert viewer.is_too_slow
    assert messages(viewer) == []


def test_viewers_events_and_frames_are_bounded() -> None:
    hub = Hub(most_viewers=2)
    viewers = [join(hub), join(hub)]
    assert hub.join(lambda: None) is None
    hub.leave(viewers[0])
    hub.leave(viewers[0])
    viewer = join(hub)
    hub.watch(viewer, frozenset({1}))
    hub.frame(1, 0.0, bytes(LARGEST_FRAME + 1))
    assert frames(viewer) == []
    for number in range(MOST_EVENTS + 50):
        hub.event(1, {"number": number})
    hub.leave(viewers[1])
    told = messages(join(hub))
    assert [event["number"] for event in told] == list(range(50, MOST_EVENTS + 50))


def test_it_is_told_which_video_anybody_watches() -> None:
    calls: list[frozenset[int]] = []
    hub = Hub(calls.append)
    one, other = join(hub), join(hub)
    hub.watch(one, frozenset({1}))
    hub.watch(other, frozenset({1, 2}))
    hub.watch(other, frozenset({1}))
    hub.leave(one)
    hub.leave(other)
    assert calls == [frozenset({1}), frozenset({1, 2}), frozenset({1}), frozenset()]
