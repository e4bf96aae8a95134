"""What the node says, field by field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from vision_msgs.msg import Classification

from ros2_actionnet.msg import ActionEvent
from ros2_actionnet.networks.shared_labels import SharedLabels
from ros2_actionnet.recognition.events import Event, EventType
from ros2_actionnet.recognition.frame_header import FrameHeader
from ros2_actionnet.recognition.prediction import Prediction
from ros2_actionnet.ros import messages as result_messages
from ros2_actionnet.ros.messages import (
    classification_message,
    event_message,
    label_info_message,
    vision_info_message,
)
from ros2_actionnet.settings import Settings
from support.fakes import make_network

pytestmark = pytest.mark.ros

LABELS = ("walking", "running", "standing still", "äußerst schnell")
NETWORK = make_network("tiny", LABELS)
HEADER = FrameHeader(1_700_000_000, 123_456_789, "camera_optical")


def prediction(*scores: float, threshold: float = 0.01) -> Prediction:
    return Prediction(np.array(scores, np.float32), LABELS, 0, threshold)


def results(message: Classification) -> list[tuple[str, float]]:
    return [(result.class_id, round(result.score, 6)) for result in message.results]


def test_results_are_sorted_by_falling_score_and_named_by_label() -> None:
    message = classification_message(prediction(0.1, 0.2, 0.0, 0.7), HEADER, Settings())
    assert results(message) == [("äußerst schnell", 0.7), ("running", 0.2), ("walking", 0.1)]


def test_the_header_is_that_of_the_frame() -> None:
    header = classification_message(prediction(1, 0, 0, 0), HEADER, Settings()).header
    assert (header.stamp.sec, header.stamp.nanosec, header.frame_id) == (1_700_000_000, 123_456_789, "camera_optical")


def test_an_index_is_a_decimal_number() -> None:
    labels = tuple(f"label {i}" for i in range(40))
    scores = np.zeros(40, np.float32)
    scores[17] = 1.0
    message = classification_message(Prediction(scores, labels, 0, 0.5), HEADER, Settings(class_id_format="index"))
    assert results(message) == [("17", 1.0)]


def test_outputs_with_one_label_are_one_result_by_label_and_apart_by_index() -> None:
    labels = ("run", "walk", "run")
    shared = SharedLabels.among(labels)
    doubled = Prediction(np.array([0.3, 0.4, 0.25], np.float32), labels, 0, shared=shared)
    assert results(classification_message(doubled, HEADER, Settings())) == [("run", 0.55), ("walk", 0.4)]
    by_index = classification_message(doubled, HEADER, Settings(class_id_format="index"))
    assert results(by_index) == [("1", 0.4), ("0", 0.3), ("2", 0.25)]


def test_at_most_top_k_and_none_under_the_threshold() -> None:
    scores = prediction(0.1, 0.2, 0.3, 0.4, threshold=0.15)
    assert [name for name, _ in results(classification_message(scores, HEADER, Settings(top_k=2)))] == [
        LABELS[3],
        LABELS[2],
    ]
    assert len(classification_message(scores, HEADER, Settings(top_k=9)).results) == 3
    assert list(classification_message(prediction(0.1, 0, 0, 0, threshold=0.5), HEADER, Settings()).results) == []


def test_a_message_survives_the_wire() -> None:
    message = classification_message(prediction(0.1, 0.2, 0.0, 0.7), HEADER, Settings())
    assert deserialize_message(serialize_message(message), Classification) == message


@pytest.mark.parametrize(
    ("kind", "constant"), [(EventType.BEGAN, ActionEvent.BEGAN), (EventType.ENDED, ActionEvent.ENDED)]
)
def test_an_event_says_what_when_and_how_long(kind: EventType, constant: int) -> None:
    event = Event(kind, class_index=2, score=0.75, start=99_500_000_000, duration=1_250_000_000)
    message = event_message(event, NETWORK, HEADER)
    assert message.type == constant
    assert (message.label, message.class_index, message.score) == ("standing still", 2, 0.75)
    assert (message.start.sec, message.start.nanosec) == (99, 500_000_000)
    assert (message.duration.sec, message.duration.nanosec) == (1, 250_000_000)
    assert message.header.stamp.sec == HEADER.sec


def test_began_and_ended_differ() -> None:
    assert ActionEvent.BEGAN != ActionEvent.ENDED


@given(st.integers(0, 2**31 * 10**9 - 1), st.integers(0, 10**15))
def test_times_are_exact(start: int, duration: int) -> None:
    message = event_message(Event(EventType.BEGAN, 0, 0.5, start, duration), NETWORK, HEADER)
    assert 0 <= message.start.nanosec < 1_000_000_000
    assert 0 <= message.duration.nanosec < 1_000_000_000
    assert message.start.sec * 10**9 + message.start.nanosec == start
    assert message.duration.sec * 10**9 + message.duration.nanosec == duration


def test_vision_info_names_the_network_the_parameter_and_the_version() -> None:
    message = vision_info_message(NETWORK, "/actionnet/class_labels", 3)
    assert (message.method, message.database_location, message.database_version) == (
        "tiny",
        "/actionnet/class_labels",
        3,
    )


def test_label_info_holds_every_label() -> None:
    if result_messages.LABEL_INFO is None:
        pytest.skip("this vision_msgs has no LabelInfo")
    message = label_info_message(NETWORK, 0.25)
    assert [(entry.class_id, entry.class_name) for entry in message.class_map] == list(enumerate(LABELS))
    assert message.threshold == 0.25


def test_where_vision_msgs_has_no_label_info_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_messages, "LABEL_INFO", None)
    assert label_info_message(NETWORK, 0.25) is None
