"""Which backend is taken, and what is said where none can be."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from ros2_actionnet import backends
from ros2_actionnet.backends import DEFAULT_OPTIONS, LoadOptions, choose_backend
from ros2_actionnet.errors import BackendError
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor
from ros2_actionnet.networks import PreparedNetwork


class AbsentBackend:
    name = "absent"

    def unavailable(self, device: str) -> str | None:
        return f"AbsentRT is not installed on {device or 'this machine'} (pip install absent)"

    def unsupported(self, device: str, precision: str) -> str | None:
        return None

    def load(
        self, network: PreparedNetwork, options: LoadOptions = DEFAULT_OPTIONS, monitor: LoadMonitor = UNMONITORED
    ) -> Any:
        raise NotImplementedError


class PresentBackend(AbsentBackend):
    name = "present"

    def unavailable(self, device: str) -> str | None:
        return None


def test_auto_takes_the_first_that_can_be_used_and_says_why_not_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"absent": AbsentBackend, "present": PresentBackend, "later": PresentBackend}
    monkeypatch.setattr(backends, "BACKENDS", table)
    choice = choose_backend()
    assert isinstance(choice.backend, PresentBackend)
    assert choice.reason == (
        "present (absent: AbsentRT is not installed on this machine (pip install absent); "
        "the first that can be used here)"
    )


def test_one_that_is_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", {"absent": AbsentBackend, "present": PresentBackend})
    with pytest.raises(
        BackendError, match=r"absent: AbsentRT is not installed on GPU \(pip install absent\)"
    ) as caught:
        choose_backend("absent", "GPU")
    assert "present" not in str(caught.value)
    assert choose_backend("present").reason == "present (as asked)"


def test_where_none_can_be_used_every_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", {"absent": AbsentBackend, "gone": AbsentBackend})
    with pytest.raises(BackendError) as caught:
        choose_backend("auto")
    assert "absent: AbsentRT" in str(caught.value)
    assert "gone: AbsentRT" in str(caught.value)


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(BackendError, match=r"'tensorflow'.*tensorrt or openvino or triton, or auto"):
        choose_backend("tensorflow")


def test_openvino_is_found_here_and_asked_for_by_name() -> None:
    choice = choose_backend("openvino")
    assert choice.backend.name == "openvino"
    assert choice.reason == "openvino (as asked)"


def test_without_openvino_its_installation_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"OpenVINO is not installed.*pip install.* openvino"):
        choose_backend("openvino")


def test_a_device_that_no_backend_knows_is_named_with_those_there_are() -> None:
    with pytest.raises(BackendError, match=r"device 'TPU'.*CPU, GPU, NPU"):
        choose_backend("openvino", "TPU")
