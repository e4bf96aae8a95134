from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from ros2_actionnet import __version__
from ros2_actionnet.cli.flags import WITHOUT_EFFECT, make_parser, parse_flags, with_dashes
from ros2_actionnet.errors import SettingsError
from ros2_actionnet.media.encoder import ENCODERS
from ros2_actionnet.media.filters import FLIPS
from ros2_actionnet.settings import SETTINGS, Scope, Settings

PAGE = Path(__file__).absolute().parents[2] / "docs" / "command.md"

# What `actionnet --help` of jetson-inference lists, each with a value that makes sense there.
JETSONS = {
    "--network": "resnet-34",
    "--model": "my.onnx",
    "--labels": "labels.txt",
    "--input-blob": "input",
    "--output-blob": "output",
    "--threshold": "0.2",
    "--skip-frames": "2",
    "--profile": None,
    "--input-width": "1280",
    "--input-height": "720",
    "--input-rate": "30",
    "--input-save": "input.mp4",
    "--input-codec": "h264",
    "--input-decoder": "cpu",
    "--input-flip": "rotate-180",
    "--input-loop": "-1",
    "--output-codec": "h265",
    "--output-encoder": "cpu",
    "--output-save": "output.mp4",
    "--bitrate": "4000000",
    "--stun-server": "disabled",
    "--headless": None,
    "--log-file": "log.txt",
    "--log-level": "verbose",
    "--verbose": None,
    "--debug": None,
}


def flags() -> list[str]:
    """Every flag of the parser but --help."""
    return [action.option_strings[0] for action in make_parser()._actions if action.option_strings][1:]


def written(flag: str, value: str | None, spelling: str) -> list[str]:
    name = "--" + flag[2:].replace("-", "_" if "underscores" in spelling else "-")
    if value is None:
        return [name]
    return [f"{name}={value}"] if "equals" in spelling else [name, value]


SPELLINGS = ("dashes", "underscores", "dashes, equals", "underscores, equals")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("flag", JETSONS)
def test_every_flag_of_jetson_inference_is_taken_in_every_spelling(flag: str, spelling: str) -> None:
    value = JETSONS[flag]
    options = parse_flags(["clip.mp4", *written(flag, value, spelling), "out.mp4"])
    assert options.uris == ["clip.mp4", "out.mp4"]
    got = getattr(options, flag[2:].replace("-", "_"))
    assert got is True if value is None else str(got) == value or float(got) == float(value)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.scope is not Scope.NODE], ids=lambda s: s.name)
def test_every_setting_of_the_library_is_a_flag_in_every_spelling(setting: object, spelling: str) -> None:
    name, kind = setting.name, setting.kind  # type: ignore[attr-defined]
    value = {
        "integer": "3",
        "double": "0.4",
        "string": "full" if name == "intensity_range" else setting.choices[-1] if setting.choices else "x",  # type: ignore[attr-defined]
        "double_array": "0.1,0.2,0.5,0.6",
        "string_array": "walking,running",
    }[kind]
    options = parse_flags(["clip.mp4", *written("--" + name.replace("_", "-"), value, spelling)])
    expected = {
        "integer": 3,
        "double": 0.4,
        "double_array": (0.1, 0.2, 0.5, 0.6),
        "string_array": ("walking", "running"),
    }
    assert getattr(options.settings, name) == expected.get(kind, value)


@pytest.mark.parametrize("name", ["event_on", "event_off", "event_min_duration"])
def test_events_have_flags_too(name: str) -> None:
    assert getattr(parse_flags([f"--{name}=0.4"]).settings, name) == 0.4


def test_the_defaults_are_those_of_the_settings() -> None:
    assert parse_flags([]).settings == Settings()


def test_flags_and_paths_come_in_any_order() -> None:
    options = parse_flags(["--top-k", "3", "in_put.mp4", "--headless", "out_put.mp4", "--results", "my_results.jsonl"])
    assert options.uris == ["in_put.mp4", "out_put.mp4"]
    assert options.results == Path("my_results.jsonl")
    assert options.settings.top_k == 3


def test_only_the_names_of_flags_are_respelled() -> None:
    assert with_dashes(["--a_b=c_d", "e_f", "--g_h", "-_"]) == ["--a-b=c_d", "e_f", "--g-h", "-_"]


def test_a_label_with_a_comma_stands_in_quotes() -> None:
    options = parse_flags(["--class-filter", 'walking, "skiing, not slalom"'])
    assert options.settings.class_filter == ("walking", "skiing, not slalom")


def test_a_batch_takes_any_number_of_inputs() -> None:
    options = parse_flags(["--batch", "out", "a.mp4", "b.mp4", "--top-k=2", "c.mp4", "--batch-files", "results,report"])
    assert options.uris == ["a.mp4", "b.mp4", "c.mp4"]
    assert (options.batch, options.batch_files) == (Path("out"), ("results", "report"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.mp4", "b.mp4", "c.mp4"], "for several files give --batch FOLDER"),
        (["--batch", "out"], "--batch needs at least one input"),
        (["--batch", "out", "a.mp4", "--results", "r.jsonl"], "omit --results"),
        (["--batch", "out", "a.mp4", "--batch-files", "movie"], "'movie' is not one of video, results, report"),
        (["--threshold", "high"], "invalid float value: 'high'"),
        (["--input-rate", "-1"], "'-1' is not a frame rate in Hz"),
        (["--input-loop", "-2"], "-1 is forever"),
        (["--bitrate", "-1"], "'-1' is below 0"),
        (["--roi", "a,b"], "invalid list of numbers value: 'a,b'"),
        (["--thresh", "0.5"], "--thresh"),
        (["--log-level", "loud"], "'loud'"),
        (["--serve"], "--serve needs a recording: actionnet clip.mp4 --serve"),
        (["--serve", "0.0.0.0:9000"], "--serve needs a recording"),
        (["--camera", "0", "--camera", "1", "--serve", "0.0.0.0:9000"], "omit --camera, or give webrtc://@:8554/NAME"),
        (["--camera", "0", "--serve=0.0.0.0:9000", "out.mp4"], "omit --camera, or give webrtc://@:8554/NAME"),
    ],
)
def test_a_command_line_that_cannot_be_used_ends_with_a_line_that_says_why(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(arguments)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("actionnet: error: ")
    assert words in last


def test_a_value_out_of_its_range_is_refused_as_everywhere_else() -> None:
    with pytest.raises(SettingsError, match="roi takes four numbers"):
        parse_flags(["--roi", "0.1,0.1"])


@pytest.mark.parametrize(
    ("arguments", "level"),
    [([], "info"), (["--verbose"], "verbose"), (["--debug"], "debug"), (["--log-level=error"], "error")],
)
def test_levels_of_logging(arguments: list[str], level: str) -> None:
    assert parse_flags(arguments).log_level == level


def test_the_help_fits_into_a_window_and_names_every_default() -> None:
    text = make_parser().format_help()
    assert max(map(len, text.splitlines())) <= 112
    for flag in flags():
        assert f"  {flag}" in text
    assert "(default: 0.01)" in text


def test_the_help_names_the_flips_and_the_codecs_that_there_are() -> None:
    text = " ".join(make_parser().format_help().replace("-\n", "-").split()).replace("- ", "-")
    assert all(flip in text for flip in FLIPS)
    assert all(codec in text for codec in ENCODERS)


def test_the_page_lists_exactly_the_flags_that_there_are_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(flag for flag, _ in rows) == sorted(flags())
    defaults = {action.option_strings[0]: action.default for action in make_parser()._actions if action.option_strings}
    for flag, cells in rows:
        default = cells.split("|")[0].strip().strip("`")
        expected = defaults[flag]
        if isinstance(expected, tuple):
            expected = ",".join(map(str, expected))
        assert default == (
            "" if any(expected is nothing for nothing in (None, False, argparse.SUPPRESS)) else str(expected)
        ), flag


def test_the_page_says_of_every_flag_of_jetson_inference_what_it_is_there() -> None:
    table = PAGE.read_text().partition("## jetson-inference's flags")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(--[a-z-]+)", table, re.MULTILINE)
    assert sorted(listed) == sorted([*JETSONS, "--batch-size"])
    assert {flag[2:] for flag in listed} >= set(WITHOUT_EFFECT)


def test_the_settings_of_the_node_alone_are_no_flags() -> None:
    there = set(flags()) - {"--detections"}  # of a file; the node's are a topic
    for setting in SETTINGS:
        assert (f"--{setting.name.replace('_', '-')}" in there) is (setting.scope is not Scope.NODE), setting.name


@pytest.mark.parametrize("command", ["actionnet", "engine", "networks"])
def test_every_command_says_its_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"ros2_actionnet.cli.{command}").main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split()[-1] == __version__


def test_names_after_two_dashes_may_begin_with_one() -> None:
    assert parse_flags(["--headless", "--", "-in.mp4", "--out_put.mp4"]).uris == ["-in.mp4", "--out_put.mp4"]


@pytest.mark.parametrize(
    "arguments", [[""], ["a.mp4", "--results", ""], ["--batch", "", "a.mp4"], ["--batch=x", "a", ""]]
)
def test_empty_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_flags(arguments)
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--serve", "a.mp4"], "127.0.0.1:8080"),
        (["a.mp4", "--serve"], "127.0.0.1:8080"),
        (["--serve", "0.0.0.0:9000", "a.mp4"], "0.0.0.0:9000"),
    ],
)
def test_a_recording_is_served_wherever_its_name_stands(arguments: list[str], address: str) -> None:
    options = parse_flags(arguments)
    assert (options.uris, options.serve) == (["a.mp4"], address)
