from __future__ import annotations

import pytest

from ros2_actionnet.recognition.window_classifier import WindowClassifier
from ros2_actionnet.settings import Settings
from support.fakes import FakeSession, make_network


def test_a_window_that_is_not_full_cannot_be_classified() -> None:
    classifier = WindowClassifier(FakeSession(make_network()), Settings())
    assert (classifier.fill, classifier.full, classifier.due) == (0, False, 0)
    with pytest.raises(RuntimeError, match="0 of 4 frames"):
        classifier.classify()
