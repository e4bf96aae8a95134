"""Decoding and encoding by what is chosen, with FFmpeg's other codecs in the place of hardware; and the fallback."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.base import InputOptions, OutputOptions, Picture
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.video_files import VideoSink, VideoSource
from support.clips import library_clip
from support.videos import PictureSource, Reports, annotated, psnr, write_video

COUNT = 8


@pytest.fixture(name="clip", scope="module")
def clip_fixture() -> list[Picture]:
    return library_clip("carphone_pristine.mp4", COUNT)


def decode(path: Path, hardware: str, reports: Reports) -> tuple[list[Picture], str]:
    """The pictures, and FFmpeg's name of the decoder that they came from."""
    decoder = Decoder(Address(str(path), path.name, "do this"), reports, hardware=hardware)
    try:
        return [to_bgr(frame.image) for frame in decoder.frames()], decoder._context.name
    finally:
        decoder.close()


@pytest.fixture(name="file", scope="module")
def file_fixture(clip: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.webm"
    write_video(path, clip, "libvpx-vp9", options={"crf": "20", "b": "0"})
    return path


class TestDecoding:
    @pytest.mark.parametrize("choice", ["libvpx-vp9", "LIBVPX-VP9"])
    def test_the_chosen_decoder_decodes(self, choice: str, file: Path, clip: list[Picture]) -> None:
        expected, usual = decode(file, "", Reports())
        assert usual == "vp9"
        reports = Reports()
        pictures, name = decode(file, choice, reports)
        assert name == "libvpx-vp9"
        assert reports.lines == []
        assert len(pictures) == COUNT
        assert all(np.array_equal(one, two) for one, two in zip(pictures, expected, strict=True))
        assert min(psnr(one, two) for one, two in zip(pictures, clip, strict=True)) > 30

    @pytest.mark.parametrize(
        ("choice", "why"),
        [
            ("nosuch", "nosuch: not for vp9 in this FFmpeg"),
            ("libvpx", "libvpx: libvpx is for vp8, not for vp9"),
            ("videotoolbox", "videotoolbox: "),
        ],
    )
    def test_else_it_is_the_cpu_and_one_line_says_why(self, choice: str, why: str, file: Path) -> None:
        reports = Reports()
        pictures, name = decode(file, choice, reports)
        assert (len(pictures), name) == (COUNT, "vp9")
        (line,) = reports.lines
        assert line.startswith(f"'clip.webm' is decoded on the CPU: {why}")

    @pytest.mark.parametrize("choice", ["auto", "omx", "v4l2", "cuda"])
    def test_whatever_this_machine_has_all_frames_come(self, choice: str, file: Path, clip: list[Picture]) -> None:
        reports = Reports()
        pictures, _ = decode(file, choice, reports)
        assert min(psnr(one, two) for one, two in zip(pictures, clip, strict=True)) > 30
        assert len(reports.lines) <= 1

    def test_the_cpu_says_nothing(self, file: Path) -> None:
        reports = Reports()
        assert decode(file, "cpu", reports)[1] == "vp9"
        assert reports.lines == []


class TestEncoding:
    def write(self, path: Path, clip: list[Picture], encoder: str, codec: str = "") -> list[str]:
        """Write the clip; return what was reported."""
        reports = Reports()
        source = PictureSource(clip, (176, 144))
        sink = VideoSink(str(path), OutputOptions(codec, encoder=encoder), source, reports)
        for index, picture in enumerate(clip):
            sink.write(annotated(picture, index, index / 25))
        sink.close()
        frames = list(VideoSource(str(path), InputOptions(), reports).frames())
        assert min(psnr(frame.picture, picture) for frame, picture in zip(frames, clip, strict=True)) > 27
        return reports.lines

    def test_the_chosen_encoder_encodes(self, clip: list[Picture], tmp_path: Path) -> None:
        path = tmp_path / "out.mkv"
        assert self.write(path, clip, "libx264rgb") == []
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == "gbrp"  # which libx264 does not write

    @pytest.mark.parametrize(
        ("choice", "why"),
        [
            ("nosuch", "nosuch: not for h264 in this FFmpeg"),
            ("libvpx", "libvpx: libvpx is for vp8, not for h264"),
            ("libx265", "libx265: libx265 is for hevc, not for h264"),
        ],
    )
    def test_else_it_is_the_cpu_and_one_line_says_why(
        self, choice: str, why: str, clip: list[Picture], tmp_path: Path
    ) -> None:
        assert self.write(tmp_path / "out.mp4", clip, choice) == [
            f"'{tmp_path / 'out.mp4'}' is encoded on the CPU: {why}"
        ]

    @pytest.mark.parametrize("choice", ["auto", "omx", "v4l2", "cuda", "nvenc"])
    def test_whatever_this_machine_has_the_file_is_whole(
        self, choice: str, clip: list[Picture], tmp_path: Path
    ) -> None:
        assert len(self.write(tmp_path / "out.mp4", clip, choice)) <= 1
