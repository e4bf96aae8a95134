"""The one checked way into a backend: whatever comes back that is not scores is a BackendError that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.errors import ActionNetError, BackendError
from support.fakes import make_network

Window = int


class ScriptedSession(Session[Window]):
    """Gives what it is told to, or raises it."""

    def __init__(self, answer: Any) -> None:
        super().__init__(make_network("tiny", ("a", "b", "c")), backend="scripted", device="CPU", precision="fp16")
        self.answer = answer
        self.asked: list[Sequence[Window]] = []

    def create_ring(self) -> FrameRing[Window]:
        raise NotImplementedError

    def _infer(self, windows: Sequence[Window]) -> Scores:
        self.asked.append(windows)
        if isinstance(self.answer, BaseException):
            raise self.answer
        scores: Scores = self.answer
        return scores

    def close(self) -> None: ...


def scores(*rows: Sequence[float], dtype: Any = np.float32) -> Any:
    return np.array(rows, dtype)


def test_good_scores_come_through_as_they_are() -> None:
    session = ScriptedSession(scores([0.25, 0.5, 0.25], [1.0, 0.0, 0.0]))
    assert session.infer([7, 8]) is session.answer
    assert session.asked == [[7, 8]]


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (scores([0.5, 0.5]), "float32 [1, 2]"),
        (scores([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]), "float32 [2, 3]"),
        (scores([0.2, 0.3, 0.5])[0], "float32 [3]"),
        (scores([0.2, 0.3, 0.5], dtype=np.float64), "float64 [1, 3]"),
        (scores([0.2, 0.3, 0.5], dtype=np.float16), "float16 [1, 3]"),
    ],
)
def test_another_shape_or_type_is_refused_with_what_came_and_what_should_have(answer: Any, received: str) -> None:
    with pytest.raises(BackendError) as caught:
        ScriptedSession(answer).infer([0])
    assert str(caught.value) == f"scripted gave scores {received} for tiny; expected float32 [1, 3]"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_refused_with_a_remedy(bad: float) -> None:
    with pytest.raises(BackendError, match=r"tiny gave scores that are not numbers under scripted fp16.*fp32"):
        ScriptedSession(scores([0.2, 0.3, 0.5], [0.2, bad, 0.5])).infer([0, 1])


def test_what_the_library_raises_becomes_a_backend_error_that_keeps_its_cause() -> None:
    cause = ValueError("no tensor of that name")
    with pytest.raises(BackendError, match="scripted failed on tiny: no tensor of that name") as caught:
        ScriptedSession(cause).infer([0])
    assert caught.value.__cause__ is cause


def test_a_backend_error_is_not_wrapped_again() -> None:
    error = BackendError("said by the backend itself")
    with pytest.raises(ActionNetError) as caught:
        ScriptedSession(error).infer([0])
    assert caught.value is error


def test_being_told_to_end_is_not_taken_for_a_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        ScriptedSession(KeyboardInterrupt()).infer([0])


def test_no_window_is_refused_before_the_backend_is_asked() -> None:
    session = ScriptedSession(scores([0.2, 0.3, 0.5]))
    with pytest.raises(BackendError, match="no window"):
        session.infer([])
    assert session.asked == []
