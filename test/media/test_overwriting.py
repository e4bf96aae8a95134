"""No input and no other output is overwritten, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.overwriting import check_overwriting

FILES = (
    "a.mkv",
    "a b.mp4",
    "in/000000.jpg",
    "in/b.jpg",
    "photos/one.jpg",
    "bag/metadata.yaml",
    "bag/bag_0.mcap",
    "alone.mcap",
)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "hard.mkv").hardlink_to(tmp_path / "a.mkv")
    (tmp_path / "soft.mkv").symlink_to("a.mkv")
    (tmp_path / "linked").symlink_to("in")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "overwritten"),
    [
        (["a.mkv"], ["a.mkv"], "a.mkv"),
        (["a.mkv"], ["./in/../a.mkv"], "a.mkv"),
        (["a.mkv"], ["hard.mkv"], "a.mkv"),
        (["a.mkv"], ["soft.mkv"], "a.mkv"),
        (["soft.mkv"], ["out.mp4", "a.mkv"], "soft.mkv"),
        (["a.mkv"], ["file://{here}/a.mkv"], "a.mkv"),
        (["file://{here}/a%20b.mp4"], ["a b.mp4"], "a b.mp4"),
        (["a.mkv"], ["FILE://a.mkv"], "a.mkv"),
        (["a.mkv", "a b.mp4"], ["out/a.mp4", "a b.mp4"], "a b.mp4"),
        (["in/*.jpg"], ["in"], "in/000000.jpg"),
        (["in/*.jpg"], ["linked/"], "in/000000.jpg"),
        (["linked"], ["in/%06d.jpg"], "linked/000000.jpg"),
        (["in/000000.jpg"], ["in/*.jpg"], "in/000000.jpg"),
        (["in/000000.jpg"], ["in/%06i.jpg"], "in/000000.jpg"),
        (["in/[b].jpg"], ["in/b.jpg"], "in/b.jpg"),
        (["in"], ["linked/b.jpg"], "in/b.jpg"),
        (["bag"], ["bag/bag_0.mcap"], "bag/bag_0.mcap"),
        (["bag"], ["bag/metadata.yaml"], "bag/metadata.yaml"),
        (["bag/bag_0.mcap"], ["bag/bag_0.mcap"], "bag/bag_0.mcap"),
        (["alone.mcap"], ["results.jsonl", "alone.mcap"], "alone.mcap"),
    ],
)
def test_an_input_is_not_overwritten(inputs: list[str], outputs: list[str], overwritten: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        check_overwriting([uri.format(here=tmp_path) for uri in inputs], [uri.format(here=tmp_path) for uri in outputs])
    shown = str(caught.value).replace(f"{tmp_path}/", "")
    assert shown == f"'{overwritten}' is the input, which would be overwritten; give another output"


@pytest.mark.parametrize(
    ("source", "output"), [("photos", "photos"), ("photos/*.jpg", "photos"), ("photos/*", "photos/out_*.jpg")]
)
def test_images_are_not_mixed_with_those_that_are_read(source: str, output: str) -> None:
    with pytest.raises(MediaError, match=f"'{output.replace('*', '.')}' is read as input, too"):
        check_overwriting([source], [output])


@pytest.mark.parametrize(
    "outputs",
    [
        ["out.jsonl", "./out.jsonl"],
        ["new/out.mp4", "new/../new/out.mp4"],
        ["out.mp4", "file://out.mp4"],
        ["frames", "frames/"],
        ["frames/*.png", "frames/%06d.png"],
    ],
)
def test_two_outputs_are_not_one_file(outputs: list[str]) -> None:
    with pytest.raises(MediaError, match="is given for two outputs"):
        check_overwriting(["a.mkv"], outputs)


@pytest.mark.parametrize("output", ["net/model.onnx", "file://net/../net/model.onnx", "labels.txt", "net/alias.mp4"])
def test_other_files_that_are_read_are_not_overwritten(output: str, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    others = [Path("net/model.onnx"), Path("labels.txt"), Path("net/not-there.bin")]
    for file in others[:2]:
        file.write_text("precious")
    Path("net/alias.mp4").symlink_to("model.onnx")
    with pytest.raises(MediaError, match="is read by this run, and would be overwritten; give another output"):
        check_overwriting(["a.mkv"], ["out.mp4", output], others)
    check_overwriting(["a.mkv"], ["net/results.jsonl"], others)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["a.mkv"], ["a.mp4", "a.jsonl", "a.html", "frames", "frames/other.jpg"]),
        (["a.mkv"], ["/dev/null", "/dev/null", "display", "rtsp://host/a.mkv", "rtsp://host/a.mkv", ""]),
        (["in/b.jpg"], ["in/c.jpg", "photos"]),
        (["photos/one.jpg"], ["photos"]),
        (["photos/*.png"], ["photos/%06d.jpg"]),
        (["bag"], ["bag/new.jsonl", "bag.mcap"]),
        (["/dev/video0", "0", "rtsp://host/in", "missing.mp4"], ["in"]),
    ],
)
def test_other_files_are_written(inputs: list[str], outputs: list[str]) -> None:
    check_overwriting(inputs, outputs)
