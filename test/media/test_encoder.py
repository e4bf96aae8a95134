"""Pictures into every container with every codec, read back by PyAV and by OpenCV."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media import encoder as encoding
from ros2_actionnet.media.base import Picture
from ros2_actionnet.media.encoder import CONTAINERS, ENCODERS, Encoder, VideoWriter, find_container, find_encoder
from support.clips import library_clip, read_clip
from support.videos import psnr

FFMPEG_NAMES = {"h265": "hevc", "av1": "libdav1d"}  # of what decodes it
TAKEN = [
    (suffix, codec)
    for suffix, codecs in {
        ".mp4": "h264 h265 vp9 mpeg4 mjpeg av1",
        ".m4v": "h264",
        ".mov": "h264 mjpeg",
        ".mkv": "h264 h265 vp8 vp9 mpeg4 mjpeg av1",
        ".webm": "vp8 vp9 av1",
        ".avi": "h264 mpeg4 mjpeg",
        ".flv": "h264",
        ".ts": "h264 h265 mpeg4",
    }.items()
    for codec in codecs.split()
]


def write(
    path: Path, pictures: list[Picture], codec: str = "", rate: float = 25.0, bitrate: int = 0, **arguments: Any
) -> None:
    container = find_container(str(path))
    size = (pictures[0].shape[1], pictures[0].shape[0])
    writer = VideoWriter(
        str(path), path.name, container, codec, bitrate, rate, size, options=container.options(), **arguments
    )
    for index, picture in enumerate(pictures):
        writer.write(picture, index / rate)
    writer.close()
    writer.close()


def look(path: Path) -> tuple[str, Fraction, tuple[int, int], list[float], list[Picture]]:
    """Codec, rate, size, times and pictures of a file, as PyAV by itself reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        codec, size = stream.codec_context.name, (stream.width, stream.height)
        return (
            codec,
            stream.average_rate,
            size,
            [f.time for f in frames],
            [f.to_ndarray(format="bgr24") for f in frames],
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_picture_that_is_shown_for_days_is_written_as_long_as_mp4_can(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    container = find_container(str(path))
    writer = VideoWriter(str(path), path.name, container, "", 0, 25.0, (64, 48), options=container.options())
    for time in (0.0, 0.04, 200_000.0, 200_000.04):
        writer.write(np.zeros((48, 64, 3), np.uint8), time)
    writer.close()
    times = look(path)[3]
    assert len(times) == 4
    assert np.diff(times)[:2] == pytest.approx([0.04, 9 * 3600], abs=0.002)


@pytest.mark.parametrize(("suffix", "codec"), TAKEN)
def test_what_is_written_is_read_back(suffix: str, codec: str, tmp_path: Path) -> None:
    clip = [np.ascontiguousarray(picture[::2, ::2]) for picture in library_clip("bikes.mp4", 12)]
    write(tmp_path / f"clip{suffix}", clip, codec)
    name, rate, size, times, pictures = look(tmp_path / f"clip{suffix}")
    assert (name, float(rate), size) == (FFMPEG_NAMES.get(codec, codec), 25.0, (320, 136))
    assert np.diff(times) == pytest.approx([0.04] * 11, abs=0.0011)
    assert min(psnr(one, two) for one, two in zip(clip, pictures, strict=True)) > 37
    assert all(stream.type == "video" for stream in av.open(str(tmp_path / f"clip{suffix}")).streams)


@pytest.mark.parametrize("rate", [24.0, 25.0, 30000 / 1001, 30.0, 15.5, 60.0])
def test_the_rate_is_the_inputs(rate: float, tmp_path: Path) -> None:
    clip = library_clip("carphone_pristine.mp4", 30)
    write(tmp_path / "clip.mp4", clip, rate=rate)
    _, found, _, times, _ = look(tmp_path / "clip.mp4")
    assert float(found) == pytest.approx(rate, rel=1e-4)
    assert times == pytest.approx([index / rate for index in range(30)], abs=1e-4)
    opened = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert opened.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-4)
    assert opened.get(cv2.CAP_PROP_FRAME_COUNT) == 30


@pytest.mark.parametrize("codec", ENCODERS)
def test_odd_sides_grow_by_a_pixel(codec: str, tmp_path: Path) -> None:
    clip = [np.ascontiguousarray(picture[:201, :333]) for picture in library_clip("bikes.mp4", 3)]
    write(tmp_path / "clip.mkv", clip, codec)
    _, _, size, _, pictures = look(tmp_path / "clip.mkv")
    assert size == (334, 202)
    for one, two in zip(clip, pictures, strict=True):
        assert psnr(one, two[:201, :333]) > 34
        assert np.abs(two[201].astype(int) - two[200]).mean() < 6


@pytest.mark.parametrize("codec", ["h264", "mjpeg", "vp9"])
def test_colors_are_kept_for_every_reader(codec: str, tmp_path: Path) -> None:
    colors = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (0, 255, 255), (128, 64, 200)]
    bars = np.repeat(np.array(colors, np.uint8), 16, axis=0)[None].repeat(64, axis=0)
    write(tmp_path / "clip.mkv", [np.ascontiguousarray(bars)] * 3, codec)
    _, _, _, _, (by_pyav, *_) = look(tmp_path / "clip.mkv")
    (by_opencv, *_) = read_clip(tmp_path / "clip.mkv")
    for read in (by_pyav, by_opencv):
        assert np.abs(read[32, 8::16].astype(int) - colors).max() <= 8


def test_a_bitrate_is_kept_to(tmp_path: Path) -> None:
    clip = library_clip("bikes.mp4", 100)
    sizes = []
    for bitrate in (200_000, 1_000_000):
        write(tmp_path / "clip.mp4", clip, bitrate=bitrate)
        sizes.append((tmp_path / "clip.mp4").stat().st_size * 8 / 4)  # bits a second
    assert sizes == pytest.approx([200_000, 1_000_000], rel=0.5)


def test_pictures_of_another_size_are_brought_to_that_of_the_first(tmp_path: Path) -> None:
    picture = library_clip("bikes.mp4", 1)[0]
    half = np.asarray(cv2.resize(picture, (320, 136), interpolation=cv2.INTER_AREA), np.uint8)
    write(tmp_path / "clip.mp4", [half, picture])
    _, _, size, _, pictures = look(tmp_path / "clip.mp4")
    assert size == (320, 136)
    assert psnr(pictures[1], half) > 33


def test_times_that_stand_still_move_on(tmp_path: Path) -> None:
    for name in ("clip.mp4", "clip.avi"):
        writer = VideoWriter(str(tmp_path / name), name, find_container(name), "", 0, 25.0)
        for time in (0.0, 0.04, 0.04, 0.02, 0.12):
            writer.write(library_clip("carphone_pristine.mp4", 1)[0], time)
        writer.close()
        times = look(tmp_path / name)[3]
        assert len(times) == 5
        assert all(np.diff(times) > 0)


def test_a_view_that_is_not_contiguous_is_written_right(tmp_path: Path) -> None:
    mirrored = [picture[:, ::-1] for picture in library_clip("bikes.mp4", 2)]
    write(tmp_path / "clip.mp4", mirrored)
    assert psnr(look(tmp_path / "clip.mp4")[4][0], np.ascontiguousarray(mirrored[0])) > 36


class TestRefusals:
    def test_an_unknown_suffix(self) -> None:
        with pytest.raises(
            MediaError, match=r"'clip\.xyz' is not a video format that can be written; use one of \.mp4, "
        ):
            find_container("clip.xyz")

    def test_an_unknown_codec(self) -> None:
        with pytest.raises(MediaError, match="there is no codec 'divx'; use one of h264, h265, vp8, "):
            find_encoder("divx")

    def test_a_codec_that_this_pyav_has_no_encoder_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ENCODERS, "av1", Encoder("libnowhere"))
        with pytest.raises(MediaError, match=r"has no encoder for av1 \(libnowhere\); it has h264, h265"):
            find_encoder("av1")

    @pytest.mark.parametrize(
        ("name", "codec", "taken"),
        [
            ("clip.webm", "h264", "vp8, vp9, av1"),
            ("clip.mp4", "vp8", "h264, h265, vp9, mpeg4, mjpeg, av1"),
            ("clip.ts", "vp9", "h264, h265, mpeg4"),
        ],
    )
    def test_a_codec_that_the_file_does_not_take(self, name: str, codec: str, taken: str, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=rf"'{name}' does not support the codec {codec}; use one of {taken}"):
            write(tmp_path / name, library_clip("bikes.mp4", 1), codec)
        assert not (tmp_path / name).exists()


def test_names_are_taken_in_any_spelling() -> None:
    assert find_encoder("H264").name == find_encoder("avc").name == "libx264"
    assert find_encoder("HEVC").name == "libx265"
    assert encoding.CONTAINERS[".mp4"] == find_container("CLIP.MP4")


def test_every_container_takes_its_own_codec() -> None:
    assert {(suffix, container.codec) for suffix, container in CONTAINERS.items()} <= set(TAKEN)


def test_a_disk_that_is_full_from_the_start_is_told_and_closed(tmp_path: Path) -> None:
    """FFmpeg crashes on a packet after an MP4's header that it could not write."""
    program = """
import resource, sys
import numpy as np
from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.encoder import VideoWriter, find_container
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
container = find_container(sys.argv[1])
writer = VideoWriter(sys.argv[1], "out.mp4", container, "", 0, 25.0, (64, 48), options=container.options())
for step in (lambda: writer.write(np.zeros((48, 64, 3), np.uint8), 0.0), writer.close):
    try:
        step()
    except MediaError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "out.mp4"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "'out.mp4' cannot be written: File too large"
