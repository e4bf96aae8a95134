"""Finding TensorRT, what its versions differ in, and its logger."""

from __future__ import annotations

import importlib
import logging
import re
from types import ModuleType
from typing import Any

import pytest

from ros2_actionnet.backends.tensorrt.library import TensorRT, find_tensorrt
from ros2_actionnet.errors import BackendError
from support.tensorrt_doubles import TENSORRT_8_5, TENSORRT_10, ILogger, Machine, make_tensorrt


def find_anew() -> TensorRT:
    return find_tensorrt.__wrapped__()


class Modules:
    """What `import` finds: modules, or what it raises instead; everything else is not installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
        self.asked: list[str] = []
        self.found = found
        monkeypatch.setattr(importlib, "import_module", self.import_module)

    def import_module(self, name: str) -> Any:
        self.asked.append(name)
        found = self.found.get(name, ModuleNotFoundError(f"No module named '{name}'", name=name))
        if isinstance(found, Exception):
            raise found
        return found


def module(version: str) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(__version__=version, Builder=object)
    return made


class TestFinding:
    def test_the_one_that_the_tests_build_engines_with_is_found(self) -> None:
        tensorrt = find_tensorrt()
        assert hasattr(tensorrt.module, "Builder")
        assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", tensorrt.version)
        assert find_tensorrt() is tensorrt

    @pytest.mark.parametrize(
        ("installed", "name"),
        [
            ({"tensorrt": "10.3.0.30", "tensorrt_rtx": "1.2.0.1"}, "TensorRT 10.3.0.30"),
            ({"tensorrt_rtx": "1.2.0.1", "tensorrt_rtx_bindings": "1.3.0.1"}, "TensorRT for RTX 1.2.0.1"),
            ({"tensorrt_rtx_bindings": "1.3.0.1"}, "TensorRT for RTX 1.3.0.1"),
        ],
    )
    def test_tensorrt_comes_before_that_for_rtx(
        self, monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], name: str
    ) -> None:
        Modules(monkeypatch, **{key: module(version) for key, version in installed.items()})
        assert find_anew().name == name

    def test_a_folder_that_is_left_of_a_package_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = ModuleType("tensorrt")  # importable, and empty
        Modules(monkeypatch, tensorrt=folder, tensorrt_rtx_bindings=module("1.7.1.116"))
        assert find_anew().name == "TensorRT for RTX 1.7.1.116"

    def test_where_there_is_none_it_says_what_to_install_on_a_jetson_and_on_a_pc(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modules = Modules(monkeypatch)
        with pytest.raises(BackendError) as refusal:
            find_anew()
        assert str(refusal.value).startswith("TensorRT is not installed; on a Jetson: apt install python3-libnvinfer")
        assert "on a PC: pip install tensorrt" in str(refusal.value)
        assert modules.asked == ["tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"]

    def test_one_whose_libraries_are_missing_is_named_with_the_loaders_words(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = "libnvinfer.so.10: cannot open shared object file"
        missing = ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs")
        Modules(
            monkeypatch, tensorrt=ImportError(words), tensorrt_rtx=missing, tensorrt_rtx_bindings=ModuleType("empty")
        )
        with pytest.raises(BackendError) as refusal:
            find_anew()
        assert "cannot be imported" in str(refusal.value)
        for reason in (f"tensorrt: {words}", "tensorrt_rtx: No module named 'tensorrt_libs'", "bindings: it is empty"):
            assert reason in str(refusal.value)

    def test_a_broken_one_does_not_hide_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Modules(monkeypatch, tensorrt=ImportError("libnvinfer.so.10"), tensorrt_rtx_bindings=module("1.7.1.116"))
        assert find_anew().is_rtx


@pytest.mark.parametrize(
    ("version", "is_rtx", "decided"),
    [
        ("8.5.2.2", False, {"needs_explicit_batch", "has_timing_cache", "holds_interpreter"}),
        ("8.6.2.3", False, {"needs_explicit_batch", "has_timing_cache", "holds_interpreter"}),
        (
            "10.3.0.30",
            False,
            {"has_strong_typing", "needs_strong_typing_flag", "has_timing_cache", "names_failed_nodes"},
        ),
        ("11.1.0.106", False, {"has_strong_typing", "has_timing_cache", "names_failed_nodes"}),
        ("1.7.1.116", True, {"has_strong_typing", "has_portable_engines", "has_runtime_cache", "names_failed_nodes"}),
    ],
)
def test_what_is_decided_by_the_version(version: str, is_rtx: bool, decided: set[str]) -> None:
    tensorrt = TensorRT(None, version, is_rtx)
    predicates = {name for name, member in vars(TensorRT).items() if isinstance(member, property)}
    predicates -= {"name", "major", "newest_opset", "opsets", "_major_and_minor"}
    assert {name for name in predicates if getattr(tensorrt, name)} == decided
    assert tensorrt.newest_opset == (17 if version.startswith("8.") else None)


@pytest.mark.parametrize(
    ("version", "is_rtx", "opsets"),
    [
        ("8.5.2.2", False, (7, 17)),
        ("8.6.2.3", False, (7, 17)),
        ("10.0.1.6", False, (9, 20)),
        ("10.3.0.30", False, (9, 20)),
        ("10.16.1.11", False, (9, 24)),
        ("11.1.0.106", False, (9, 24)),
        ("1.7.1.116", True, (9, 24)),
    ],
)
def test_the_opsets_that_a_parser_reads(version: str, is_rtx: bool, opsets: tuple[int, int]) -> None:
    assert TensorRT(None, version, is_rtx).opsets == opsets


class TestPlugins:
    def test_they_are_registered_once_before_an_engine_is_deserialized(self) -> None:
        machine = Machine()
        tensorrt = make_tensorrt(TENSORRT_8_5, machine)
        assert [tensorrt.deserialize(b"plan") for _ in range(2)] == [b"plan", b"plan"]
        assert machine.calls == ["init_libnvinfer_plugins", "deserialize_cuda_engine", "deserialize_cuda_engine"]

    def test_where_they_cannot_be_other_networks_still_run(self, caplog: pytest.LogCaptureFixture) -> None:
        tensorrt = make_tensorrt(TENSORRT_8_5, Machine(has_plugins=False))
        assert tensorrt.deserialize(b"plan") == tensorrt.deserialize(b"plan") == b"plan"
        assert [record.message for record in caplog.records] == [
            "the plugins of TensorRT 8.5.2.2 cannot be registered; networks that need none still run"
        ]

    def test_the_real_ones_are(self) -> None:
        assert find_tensorrt().register_plugins()


class TestMaking:
    """A null pointer of the library is an error with its reason."""

    def test_a_constructor_that_raises_pybind11s_error(self) -> None:
        tensorrt = make_tensorrt(TENSORRT_10, Machine(has_gpu=False))
        tensorrt.logger.last_error = "of another call"
        said = (
            r"TensorRT 10.3.0.30 cannot be started here: CUDA initialization failure with error: 35; see whether "
            r"nvidia-smi .*usermod -aG video,render USER"
        )
        with pytest.raises(BackendError, match=said):
            tensorrt.deserialize(b"plan")

    def test_a_function_that_returns_none(self) -> None:
        tensorrt = make_tensorrt(TENSORRT_10)

        def none() -> None:
            tensorrt.logger.last_error = "Cuda failure: out of memory"

        with pytest.raises(BackendError, match=r"out of memory; free memory on the GPU, or take a smaller network$"):
            tensorrt.make(none)
        with pytest.raises(BackendError, match="cannot be started here: it does not say why; see whether"):
            tensorrt.make(lambda: None)

    def test_what_is_made_is_returned(self) -> None:
        assert make_tensorrt(TENSORRT_10).make(int, "7") == 7


class TestLogger:
    def test_warnings_and_errors_go_to_logging_and_the_last_error_is_kept(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        tensorrt = make_tensorrt(TENSORRT_10)
        log, severity = tensorrt.logger.log, ILogger.Severity
        with caplog.at_level(logging.DEBUG):
            for level, words in zip(severity, ("lost", "wrong", "odd", "by the way", "chatter"), strict=True):
                log(level, words + "\n")
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("ERROR", "TensorRT: lost"),
            ("ERROR", "TensorRT: wrong"),
            ("WARNING", "TensorRT: odd"),
        ]
        assert [tensorrt.take_error(), tensorrt.take_error()] == ["wrong", ""]

    def test_there_is_one_for_all(self) -> None:
        tensorrt = make_tensorrt(TENSORRT_10)
        assert tensorrt.logger is tensorrt.logger

    def test_the_real_one_gets_the_words_over_a_plan_that_is_none(self) -> None:
        tensorrt = find_tensorrt()
        assert tensorrt.deserialize(b"not an engine" * 100) is None
        assert tensorrt.logger.last_error
