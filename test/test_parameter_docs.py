"""The generated pages hold what the table of settings says, and ROS reads the parameter file as it was meant."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from ros2_actionnet.settings import SETTINGS, Settings

ROOT = Path(__file__).parents[1]
PARAMETER_FILE = ROOT / "config" / "actionnet.yaml"


@pytest.fixture(scope="module")
def generator() -> Any:
    path = ROOT / "tools" / "generate_parameter_docs.py"
    spec = importlib.util.spec_from_file_location("generate_parameter_docs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(generator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = generator.main(["--check"])
    assert code == 0, capsys.readouterr().err


def test_the_parameter_file_has_every_default() -> None:
    values = yaml.safe_load(PARAMETER_FILE.read_text())["/**"]["actionnet"]["ros__parameters"]
    assert values.keys() == {s.name for s in SETTINGS if s.default != ()}
    assert Settings.from_values(values) == Settings()


def test_the_parameter_file_says_what_each_setting_is() -> None:
    text = " ".join(PARAMETER_FILE.read_text().replace("#", "").split())
    for setting in SETTINGS:
        assert setting.description in text
        assert f"{setting.name}: " in text


@pytest.mark.ros
@pytest.mark.parametrize("namespace", ["/", "/robot", "/fleet/robot1"])
def test_ros_reads_the_parameter_file(namespace: str) -> None:
    rclpy = pytest.importorskip("rclpy")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(PARAMETER_FILE)], context=context)
    try:
        node = rclpy.create_node(
            "actionnet", namespace=namespace, context=context, automatically_declare_parameters_from_overrides=True
        )
        parameters = {s.name: node.get_parameter(s.name) for s in SETTINGS if node.has_parameter(s.name)}
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert {name: p.type_.name.lower() for name, p in parameters.items()} == {
        s.name: s.kind for s in SETTINGS if s.default != ()
    }
    assert Settings.from_values({name: p.value for name, p in parameters.items()}) == Settings()


def test_the_table_has_a_row_for_each_setting(generator: Any) -> None:
    assert set(generator.SET_FIRST) < {setting.name for setting in SETTINGS}
    _, _, *rows = generator.table().splitlines()
    assert [row.split("`")[1] for row in rows] == [s.name for s in SETTINGS]
    assert all(row.replace(r"\|", "").count("|") == 7 for row in rows)


@pytest.fixture
def checkout(generator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the generator takes for the checkout."""
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    return tmp_path


def test_check_names_what_is_stale_and_changes_nothing(
    generator: Any, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    page = checkout / "docs" / "parameters.md"
    page.write_text("old")
    capsys.readouterr()
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("docs/parameters.md is not up to date")
    assert page.read_text() == "old"


def test_the_readme_keeps_what_is_around_the_table(generator: Any, checkout: Path) -> None:
    readme = checkout / "README.md"
    readme.write_text(f"before\n{generator.BEGIN}\nold\n{generator.END}\nafter ü\n", encoding="utf-8")
    assert generator.main([]) == 0
    text = readme.read_text(encoding="utf-8")
    table = generator.table(setting for setting in SETTINGS if setting.name in generator.SET_FIRST)
    assert table.count("\n") == len(generator.SET_FIRST) + 1
    assert text == f"before\n{generator.BEGIN}\n\n{table}\n\n{generator.END}\nafter ü\n"
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize("text", ["no markers", "{begin} no end", "{end} wrong order {begin}"])
def test_a_readme_without_both_markers_is_refused(
    generator: Any, checkout: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (checkout / "README.md").write_text(text.format(begin=generator.BEGIN, end=generator.END))
    assert generator.main(["--check"]) == 1
    assert generator.BEGIN in capsys.readouterr().err
