"""Pictures as they are meant to be seen: turned, mirrored, interlaced, of pixels that are not square, in HDR."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.base import Picture
from ros2_actionnet.media.decoder import Decoder
from ros2_actionnet.media.frame_conversion import FrameConverter
from ros2_actionnet.media.tone_mapping import HLG, PQ
from support.clips import library_clip
from support.videos import Reports, psnr, write_video

COUNT = 6


def clip(width: int = 320, height: int = 136, count: int = COUNT) -> list[Picture]:
    """A clip with a little camera motion."""
    pictures = library_clip("bikes.mp4", count)
    return [np.asarray(cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for p in pictures]


def write(
    path: Path, pictures: list[Picture], prepare: Callable[[Any], None], pixels: str = "yuv420p", **options: str
) -> None:
    """Write an H.264 file; `prepare` sets what the stream is tagged with."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "5", **options})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        prepare(stream)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pixels)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def decode(path: Path, **arguments: Any) -> list[Picture]:
    reports = Reports()
    decoder = Decoder(Address(str(path), path.name, "do this"), reports, **arguments)
    try:
        frames = list(decoder.frames())
        assert decoder.size == (frames[0].image.width, frames[0].image.height)
    finally:
        decoder.close()
    assert reports.lines == []
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = [frame.time for frame in frames if frame.time is not None]
    assert times == pytest.approx([index / 25 for index in range(len(frames))])
    return [np.asarray(to_bgr(frame.image)) for frame in frames]


def worst(one: list[Picture], other: list[Picture]) -> float:
    return min(psnr(a, np.ascontiguousarray(b)) for a, b in zip(one, other, strict=True))


class TestOrientation:
    # A pixel at (x, y) is shown at (ax + cy, bx + dy).
    @pytest.mark.parametrize(
        ("a", "b", "c", "d", "turned"),
        [
            (1, 0, 0, 1, lambda p: p),
            (-1, 0, 0, 1, np.fliplr),
            (1, 0, 0, -1, np.flipud),
            (-1, 0, 0, -1, lambda p: np.rot90(p, 2)),
            (0, 1, -1, 0, lambda p: np.rot90(p, -1)),
            (0, -1, 1, 0, np.rot90),
            (0, 1, 1, 0, lambda p: p.transpose(1, 0, 2)),
            (0, -1, -1, 0, lambda p: np.rot90(p.transpose(1, 0, 2), 2)),
        ],
    )
    def test_every_display_matrix_is_followed(
        self, a: int, b: int, c: int, d: int, turned: Callable[[Picture], Picture], tmp_path: Path
    ) -> None:
        pictures = clip()
        matrix = [65536 * element for element in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
        write(tmp_path / "turned.mp4", pictures, lambda stream: stream.set_display_matrix(matrix))
        assert worst(decode(tmp_path / "turned.mp4"), [turned(picture) for picture in pictures]) > 35

    @pytest.mark.parametrize(
        ("size", "expected"), [((68, 0), (68, 160)), ((0, 80), (34, 80)), ((100, 90), (100, 90)), ((0, 0), (136, 320))]
    )
    def test_sizes_are_those_of_the_upright_picture(
        self, size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
    ) -> None:
        pictures = clip()
        write(tmp_path / "phone.mp4", pictures, lambda stream: stream.set_display_rotation(-90))
        upright = [np.asarray(cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE), np.uint8) for picture in pictures]
        small = [np.asarray(cv2.resize(p, expected, interpolation=cv2.INTER_AREA), np.uint8) for p in upright]
        assert worst(decode(tmp_path / "phone.mp4", size=size), small) > 30


class TestAspect:
    @pytest.mark.parametrize(
        ("aspect", "rotation", "size", "expected"),
        [
            (Fraction(64, 45), 0, (0, 0), (455, 136)),
            (Fraction(8, 9), 0, (0, 0), (284, 136)),
            (Fraction(2), 90, (0, 0), (136, 640)),
            (Fraction(2), 0, (320, 0), (320, 68)),
            (Fraction(2), 90, (68, 0), (68, 320)),
            (Fraction(2), 0, (100, 90), (100, 90)),
        ],
    )
    def test_pixels_become_square(
        self, aspect: Fraction, rotation: int, size: tuple[int, int], expected: tuple[int, int], tmp_path: Path
    ) -> None:
        def prepare(stream: Any) -> None:
            stream.codec_context.sample_aspect_ratio = aspect
            stream.set_display_rotation(rotation)

        pictures = clip()
        write(tmp_path / "dv.mp4", pictures, prepare)
        upright = [np.ascontiguousarray(np.rot90(picture, rotation // 90)) for picture in pictures]
        shown = [np.asarray(cv2.resize(picture, expected), np.uint8) for picture in upright]
        read = decode(tmp_path / "dv.mp4", size=size)
        assert (read[0].shape[1], read[0].shape[0]) == expected
        assert worst(read, shown) > 27


class TestInterlaced:
    def test_lines_of_two_times_are_not_mixed(self, tmp_path: Path) -> None:
        # A bar that moves by 8 pixels a field, with the odd lines of one time and the even ones of the next.
        def at(field: int) -> Picture:
            picture = np.full((96, 160, 3), 40, np.uint8)
            picture[:, 8 * field : 8 * field + 24] = 220
            return picture

        woven = []
        for index in range(COUNT):
            picture = at(2 * index)
            picture[::2] = at(2 * index + 1)[::2]
            woven.append(picture)
        write(tmp_path / "tv.mkv", woven, lambda stream: None, flags="+ildct+ilme")
        read = decode(tmp_path / "tv.mkv")
        assert len(read) == COUNT  # the last one, too, which the filter holds back until the end
        for index, picture in enumerate(read):
            lines = picture[24:72].astype(int)
            assert np.abs(np.diff(lines, axis=0)).max() < 40  # it was 180 from line to line
            assert psnr(picture, at(2 * index)) > psnr(woven[index], at(2 * index)) + 6

    def test_a_progressive_file_goes_through_no_filter(self, tmp_path: Path) -> None:
        pictures = clip()
        write(tmp_path / "plain.mp4", pictures, lambda stream: None)
        converter = FrameConverter(None, (0, 0))
        for frame in av.open(str(tmp_path / "plain.mp4")).decode(video=0):
            (image,) = converter.convert(frame)
            assert image.encoding == "nv12"
        assert list(converter.finish()) == []


def pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """The PQ signal of a luminance in cd/m2, as SMPTE ST 2084 defines it."""
    power = (light / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def write_hdr(path: Path, signal: NDArray[np.float64], transfer: int) -> None:
    """Write gray bars, 16 pixels wide, in 10 bits."""
    luma = np.repeat(np.rint(64 + 876 * signal).astype(np.uint16), 16)[None].repeat(64, axis=0)
    height, width = luma.shape
    frame = av.VideoFrame(width, height, "yuv420p10le")
    chroma = np.full((height // 2, width // 2), 512, np.uint16)
    for plane, samples in zip(frame.planes, (luma, chroma, chroma), strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries, context.color_range = transfer, 9, 9, 1
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])


class TestHighDynamicRange:
    def test_pq_is_shown_as_bright_as_on_an_ordinary_display(self, tmp_path: Path) -> None:
        light = np.array([0, 5, 20, 50, 100, 203, 1000, 4000], float)  # cd/m2
        write_hdr(tmp_path / "pq.mkv", pq_signal(light), PQ)
        (picture,) = decode(tmp_path / "pq.mkv")
        middles = picture[32, 8::16].astype(int)
        assert np.abs(middles - middles[:, :1]).max() <= 1  # gray stays gray
        expected = 255 * (light / 203) ** (1 / 2.4)
        assert np.abs(middles[:5, 0] - expected[:5]).max() <= 2
        assert 220 <= middles[5, 0] < middles[6, 0] < middles[7, 0] <= 255  # highlights are told apart

    def test_hlg_has_the_white_of_its_standard(self, tmp_path: Path) -> None:
        signal = np.array([0, 0.25, 0.5, 0.75, 0.9, 1.0])
        write_hdr(tmp_path / "hlg.mkv", signal, HLG)
        (picture,) = decode(tmp_path / "hlg.mkv")
        middles = picture[32, 8::16, 1].astype(int)
        # On a display of 1000 cd/m2, from BT.2100: 0.25 and 0.5 are 9.3 and 50.7 cd/m2; 0.75 is diffuse white.
        scene = np.array([0, 0.25**2 / 3, 0.5**2 / 3])
        assert np.abs(middles[:3] - 255 * (1000 * scene**1.2 / 203) ** (1 / 2.4)).max() <= 2
        assert 225 <= middles[3] <= 238
        assert middles[3] < middles[4] < middles[5] <= 255

    def test_it_is_scaled_and_turned_as_well(self, tmp_path: Path) -> None:
        write_hdr(tmp_path / "pq.mkv", pq_signal(np.array([0, 100, 203, 400], float)), PQ)
        (picture,) = decode(tmp_path / "pq.mkv", size=(32, 0))
        assert picture.shape == (32, 32, 3)
        assert picture[16, 12].tolist() == pytest.approx([189] * 3, abs=3)


@pytest.mark.parametrize("space", [2, 3, 8, 10, 14, 17, 200])
@pytest.mark.parametrize("others", [0, 2, 3])
def test_color_tags_that_mean_nothing_are_shown_as_usual(space: int, others: int) -> None:
    picture = np.full((48, 64, 3), (30, 90, 200), np.uint8)
    for pixels in ("yuv420p", "yuv444p"):
        frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pixels)
        frame.colorspace, frame.color_trc, frame.color_primaries = space, others, others
        for size in ((0, 0), (32, 24)):
            (image,) = FrameConverter(None, size).convert(frame)
            limit = 40 if space == 10 else 4  # BT.2020
            assert np.abs(to_bgr(image).astype(int) - picture[0, 0]).max() <= limit


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "qtrle", "argb"),
        ("b.mov", "png", "rgba"),
        ("a.mkv", "ffv1", "yuv422p10le"),
        ("b.mkv", "ffv1", "gbrp10le"),
        ("c.mkv", "ffv1", "bgra"),
    ],
)
def test_alpha_and_deep_formats_keep_their_colors(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    pictures = clip()
    write_video(tmp_path / name, pictures, codec, pixels=pixels, options={"crf": "5"} if "vpx" in codec else {})
    assert worst(decode(tmp_path / name), pictures) > 34


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le"])
def test_gray_is_gray(pixels: str, tmp_path: Path) -> None:
    luma = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8) for picture in clip()]
    pictures = [np.repeat(gray[..., None], 3, axis=2) for gray in luma]
    write_video(tmp_path / "gray.mkv", pictures, "ffv1", pixels=pixels)
    assert worst(decode(tmp_path / "gray.mkv"), pictures) > 45


class TestCoverArt:
    def write(self, path: Path, pictures: list[Picture], cover: Picture) -> None:
        with av.open(str(path), "w") as container:
            art: Any = container.add_stream("mjpeg", rate=25)
            art.height, art.width, art.pix_fmt = *cover.shape[:2], "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            streams = [(art, [cover])]
            if pictures:
                video: Any = container.add_stream("libx264", rate=25, options={"crf": "5"})
                video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], "yuv420p"
                streams.append((video, pictures))
            for stream, frames in streams:
                for index, picture in enumerate(frames):
                    frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=stream.pix_fmt)
                    frame.pts = index
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))

    def test_it_is_not_the_video(self, tmp_path: Path) -> None:
        pictures = clip()
        self.write(tmp_path / "film.mp4", pictures, np.full((300, 200, 3), 90, np.uint8))
        assert worst(decode(tmp_path / "film.mp4"), pictures) > 35


class TestAspectThatChanges:
    def test_television_that_changes_from_4_3_to_16_9_is_followed(self, tmp_path: Path) -> None:
        parts = []
        for aspect in ("1/1", "4/3"):
            write(tmp_path / "part.ts", clip(count=5), lambda stream: None, **{"x264-params": f"sar={aspect}"})
            parts.append((tmp_path / "part.ts").read_bytes())
        (tmp_path / "joined.ts").write_bytes(b"".join(parts))
        decoder = Decoder(Address(str(tmp_path / "joined.ts"), "joined.ts", "do this"), Reports())
        sizes = [(decoded.image.width, decoded.image.height) for decoded in decoder.frames()]
        decoder.close()
        # The decoder's threads are some frames ahead.
        assert len(sizes) == 10
        assert (sizes[0], sizes[-1]) == ((320, 136), (427, 136))
        assert set(sizes[5:]) == {(427, 136)}

    def test_pixels_that_no_camera_has_are_square(self) -> None:
        frame = av.VideoFrame(64, 48, "yuv420p")
        for aspect in (Fraction(65535), Fraction(1, 65535)):
            (image,) = FrameConverter(aspect, (0, 0)).convert(frame)
            assert (image.width, image.height) == (64, 48)


def test_the_files_own_choice_of_several_videos_is_shown(tmp_path: Path) -> None:
    kinds = av.stream.Disposition
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        for width, disposition in ((32, 0), (64, kinds.default)):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            stream.disposition = disposition
        for stream in container.streams.video:
            container.mux(stream.encode(av.VideoFrame(stream.width, 48, "yuv420p")))
            container.mux(stream.encode(None))
    assert decode(tmp_path / "two.mkv")[0].shape == (48, 64, 3)
