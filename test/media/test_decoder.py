"""What comes out of PyAV: the right pixels, in the right order, under the right numbers and times."""

from __future__ import annotations

import random
import sys
import threading
import wave
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.images.raw_image import to_bgr
from ros2_actionnet.media.av_support import Address
from ros2_actionnet.media.decoder import Decoded, Decoder
from ros2_actionnet.media.frame_conversion import scaled
from ros2_actionnet.media.frame_numbering import FrameNumbering
from ros2_actionnet.media.recording import Recording
from support.clips import library_clip, read_clip
from support.videos import RATE, Reports, grey, level, library_path, psnr, write_video

COUNT = 24
OPENCV = tuple(int(part) for part in cv2.__version__.split(".")[:2])


def address(path: Path, **changes: Any) -> Address:
    return Address(str(path), path.name, "do this", **changes)


def decode(path: Path, report: Reports | None = None, **arguments: Any) -> list[Decoded]:
    reports = Reports() if report is None else report
    decoder = Decoder(address(path), reports, **arguments)
    try:
        frames = list(decoder.frames())
        assert decoder.count == (frames[-1].index + 1 if report is None else decoder.count)
    finally:
        decoder.close()
    if report is None:
        assert reports.lines == []
    return frames


def numbers(frames: list[Decoded]) -> list[int]:
    return [round((float(to_bgr(frame.image).mean()) - 10) / 8) for frame in frames]


class TestPixels:
    def test_they_are_what_opencv_decodes(self) -> None:
        expected = library_clip("bikes.mp4")
        frames = decode(library_path("bikes.mp4"))
        assert [frame.index for frame in frames] == list(range(250))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(250)])
        assert min(psnr(to_bgr(f.image), picture) for f, picture in zip(frames, expected, strict=True)) > 40

    @pytest.mark.parametrize(
        ("tags", "pixels", "encoding"),
        [
            ((6, 1), "yuv420p", "nv12"),  # BT.601, limited range
            ((5, 1), "yuv420p", "nv12"),
            ((1, 1), "yuv420p", "bgr8"),  # BT.709
            ((6, 2), "yuv420p", "bgr8"),  # full range
            ((1, 2), "yuv420p", "bgr8"),
            ((6, 2), "yuvj420p", "bgr8"),
            ((1, 1), "yuv444p", "bgr8"),
            ((1, 1), "yuv420p10le", "bgr8"),
        ],
    )
    def test_colors_are_read_as_they_were_written(
        self, tags: tuple[int, int], pixels: str, encoding: str, tmp_path: Path
    ) -> None:
        colors = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (0, 255, 255), (128, 64, 200)]
        bars = np.repeat(np.array(colors, np.uint8), 16, axis=0)[None].repeat(64, axis=0)
        write_video(tmp_path / "bars.mp4", [bars], pixels=pixels, tags=tags, options={"crf": "1"})
        (frame,) = decode(tmp_path / "bars.mp4")
        assert frame.image.encoding == encoding
        middles = to_bgr(frame.image)[32, 8::16].astype(int)
        assert np.abs(middles - colors).max() <= 4

    def test_a_full_range_is_seen_where_the_format_does_not_tell(self, tmp_path: Path) -> None:
        ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
        write_video(tmp_path / "ramp.webm", [ramp], "libvpx-vp9", tags=(6, 2), options={"crf": "4", "b": "0"})
        (frame,) = decode(tmp_path / "ramp.webm")
        assert np.abs(to_bgr(frame.image).astype(int) - ramp).max() <= 6

    @pytest.mark.parametrize("size", [(64, 48), (63, 47), (62, 47)])
    def test_odd_sides_are_whole(self, size: tuple[int, int], tmp_path: Path) -> None:
        picture = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
        picture = np.asarray(cv2.GaussianBlur(picture, (9, 9), 4), np.uint8)
        write_video(tmp_path / "odd.mp4", [picture], pixels="yuv444p", options={"crf": "4"})
        (frame,) = decode(tmp_path / "odd.mp4")
        assert psnr(to_bgr(frame.image), picture) > 38

    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_what_was_filmed_upright_is_upright(self, rotation: int, tmp_path: Path) -> None:
        pictures = library_clip("bikes.mp4", 3)
        write_video(tmp_path / "turned.mp4", pictures, rotation=rotation)
        read = [to_bgr(frame.image) for frame in decode(tmp_path / "turned.mp4")]
        turned = [np.ascontiguousarray(np.rot90(picture, rotation // 90)) for picture in pictures]
        assert min(psnr(one, two) for one, two in zip(read, turned, strict=True)) > 30
        if OPENCV >= (4, 7):  # which turned the wrong way before
            expected = read_clip(tmp_path / "turned.mp4")
            assert min(psnr(one, two) for one, two in zip(read, expected, strict=True)) > 40

    def test_they_are_scaled(self) -> None:
        (first, *_) = decode(library_path("bikes.mp4"), size=(320, 0))
        picture = cv2.resize(library_clip("bikes.mp4", 1)[0], (320, 136), interpolation=cv2.INTER_AREA)
        assert psnr(to_bgr(first.image), np.asarray(picture, np.uint8)) > 30

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [((0, 0), (640, 272)), ((320, 0), (320, 136)), ((0, 136), (320, 136)), ((100, 90), (100, 90))],
    )
    def test_a_side_that_is_not_given_keeps_the_shape(self, wanted: tuple[int, int], expected: tuple[int, int]) -> None:
        assert scaled(640, 272, wanted) == expected


CONTAINERS: list[tuple[str, str, dict[str, str]]] = [
    ("b_frames.mp4", "libx264", {"bf": "2"}),
    ("b_frames.mov", "libx264", {"bf": "2"}),
    ("b_frames.mkv", "libx264", {"bf": "2"}),
    ("b_frames.avi", "libx264", {"bf": "2"}),  # which has no presentation times
    ("b_frames_4.avi", "mpeg4", {"bf": "2", "b": "4M"}),
    ("b_frames.flv", "libx264", {"bf": "2"}),
    ("b_frames.ts", "libx264", {"bf": "2"}),
    ("b_frames.h264", "libx264", {"bf": "2"}),
    ("b_frames_5.mp4", "libx265", {"x265-params": "log-level=none"}),
    ("hidden_frames.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}),
    ("superframes.webm", "libvpx-vp9", {"deadline": "good", "cpu-used": "5"}),
    ("jpeg.avi", "mjpeg", {}),
    ("mpeg.mpg", "mpeg2video", {"bf": "2", "b": "4M"}),
    ("windows.wmv", "wmv2", {}),
]


class TestOrderAndTimes:
    @pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS, ids=[name for name, *_ in CONTAINERS])
    def test_each_frame_comes_once_under_its_number(
        self, name: str, codec: str, options: dict[str, str], tmp_path: Path
    ) -> None:
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_video(tmp_path / name, map(grey, range(COUNT)), codec, pixels=pixels, options=options)
        frames = decode(tmp_path / name)
        assert numbers(frames) == list(range(COUNT))
        assert [frame.index for frame in frames] == list(range(COUNT))
        times = [frame.time for frame in frames]
        seen = [time - times[0] for time in times if time is not None and times[0] is not None]
        assert seen == pytest.approx([index / RATE for index in range(COUNT)], abs=0.0006)  # some count in ms

    def test_the_times_of_a_phone_are_kept(self, tmp_path: Path) -> None:
        chance = random.Random(2)
        times = [0.0]
        for _ in range(COUNT - 1):
            times.append(times[-1] + chance.choice([1 / 60, 1 / 30, 1 / 15]))
        write_video(tmp_path / "phone.mp4", map(grey, range(COUNT)), times=times, options={"bf": "2"})
        assert [frame.time for frame in decode(tmp_path / "phone.mp4")] == pytest.approx(times, abs=1e-6)

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".webm"])
    def test_rate_size_and_length_are_known_at_once(self, suffix: str, tmp_path: Path) -> None:
        codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
        path = tmp_path / f"clip{suffix}"
        write_video(path, map(grey, range(COUNT)), codec)
        decoder = Decoder(address(path), Reports())
        assert (decoder.rate, decoder.size, decoder.length) == (RATE, (64, 48), COUNT)
        decoder.close()


def damage(path: Path, target: Path, first: int, last: int, count: int) -> None:
    """Copies a file with `count` bits of the bytes from `first` to `last` turned over."""
    content, chance = bytearray(path.read_bytes()), random.Random(1)
    for _ in range(count):
        content[chance.randrange(first, last)] ^= 1 << chance.randrange(8)
    target.write_bytes(content)


def destroy(path: Path, target: Path, *indices: int) -> None:
    """Copies a file with the content of some packets, but for their beginnings, replaced by zeros."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for index, packet in enumerate(container.demux(video=0)):
            if index in indices:
                position = content.index(bytes(packet), packet.pos)
                content[position + 8 : position + packet.size] = bytes(packet.size - 8)
    target.write_bytes(content)


class TestRates:
    def write(self, path: Path, times: list[int]) -> None:
        """Write frames at `times` (ms) as browsers do, which state a rate of 1000 Hz."""
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libvpx", rate=1000)
            stream.width, stream.height = 64, 48
            stream.codec_context.time_base = Fraction(1, 1000)
            for index, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(grey(index), "bgr24")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    @pytest.mark.parametrize("rate", [15, 24, 30, 240])
    def test_that_of_a_browsers_recording_is_what_its_frames_have(self, rate: int, tmp_path: Path) -> None:
        jitter = np.random.default_rng(0).integers(0, 3, 90)
        times = [round(index * 1000 / rate + jitter[index] * (rate < 100)) for index in range(90)]
        times[40:] = [time + 3000 for time in times[40:]]  # a pause
        self.write(tmp_path / "browser.webm", times)
        with av.open(str(tmp_path / "browser.webm")) as container:
            assert (container.streams.video[0].average_rate or 0) in (0, 1000)
        decoder = Decoder(address(tmp_path / "browser.webm"), print)
        try:
            assert decoder.rate == pytest.approx(rate, rel=0.05)
            frames = list(decoder.frames())
        finally:
            decoder.close()
        assert numbers(frames) == [index % 28 for index in range(90)]  # what was looked at first is there, too
        assert [frame.time for frame in frames] == pytest.approx([time / 1000 for time in times])

    @pytest.mark.parametrize(("codec", "options"), [("mpeg4", {"b": "4M"}), ("libx264", {"bf": "0"})])
    def test_empty_frames_of_an_avi_take_their_time(self, codec: str, options: dict[str, str], tmp_path: Path) -> None:
        places = [0, 1, 2, 7, 8, 9, 30, 31]
        with av.open(str(tmp_path / "camera.avi"), "w") as container:
            stream: Any = container.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index, place in enumerate(places):
                frame = av.VideoFrame.from_ndarray(grey(index), "bgr24")
                frame.pts = place
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        frames = decode(tmp_path / "camera.avi")  # which is not called truncated
        assert [frame.time for frame in frames] == pytest.approx([place / RATE for place in places])
        assert numbers(frames) == list(range(len(places)))


class TestBrokenFrames:
    @pytest.mark.parametrize("bits", [1, 40, 2000])
    def test_they_are_left_out_and_told_of_once_and_the_others_keep_their_places(
        self, bits: int, tmp_path: Path
    ) -> None:
        damage(library_path("bikes.mp4"), tmp_path / "damaged.mp4", 200_000, 260_000, bits)
        reports = Reports()
        frames = decode(tmp_path / "damaged.mp4", reports)
        indices = [frame.index for frame in frames]
        missing = sorted(set(range(250)) - set(indices))
        assert missing
        assert indices == sorted(set(indices))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in indices])
        assert len(reports.lines) == 1
        if len(missing) == 1:
            expected = f"'damaged.mp4': frame {missing[0]} is broken and skipped"
        else:
            expected = f"'damaged.mp4': {len(missing)} frames from {missing[0]} to {missing[-1]} are broken and skipped"
        assert reports.lines == [expected]
        # What comes before the damage is as it was.
        with av.open(str(library_path("bikes.mp4"))) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        first = min(round(float(p.pts * p.time_base) * 25) for p in packets if p.pos + p.size > 200_000)
        assert 80 < first <= missing[0]
        whole = library_clip("bikes.mp4")
        assert all(psnr(to_bgr(frame.image), whole[frame.index]) > 40 for frame in frames if frame.index < first)

    def test_what_comes_after_the_next_keyframe_is_as_it_was(self, tmp_path: Path) -> None:
        whole = library_clip("bikes.mp4", 60)
        write_video(tmp_path / "whole.mp4", whole, options={"g": "20", "sc_threshold": "0"})
        destroy(tmp_path / "whole.mp4", tmp_path / "damaged.mp4", 25)
        reports = Reports()
        frames = decode(tmp_path / "damaged.mp4", reports)
        indices = [frame.index for frame in frames]
        missing = set(range(60)) - set(indices)
        assert missing
        assert min(missing) >= 20
        assert max(missing) < 40
        assert len(reports.lines) == 1
        for frame in frames:
            if not 20 <= frame.index < 40:
                assert psnr(to_bgr(frame.image), whole[frame.index]) > 33

    def test_where_frames_have_no_times_they_are_counted(self, tmp_path: Path) -> None:
        write_video(tmp_path / "whole.avi", map(grey, range(COUNT)), "mjpeg", pixels="yuvj420p")
        destroy(tmp_path / "whole.avi", tmp_path / "damaged.avi", 7, 8, 9)
        reports = Reports()
        frames = decode(tmp_path / "damaged.avi", reports)
        assert [frame.index for frame in frames] == [*range(7), *range(10, COUNT)]
        assert numbers(frames) == [*range(7), *range(10, COUNT)]
        assert reports.lines == ["'damaged.avi': 3 frames from 7 to 9 are broken and skipped"]

    def test_bursts_far_apart_are_told_of_one_by_one(self, tmp_path: Path) -> None:
        write_video(tmp_path / "whole.avi", map(grey, range(80)), "mjpeg", pixels="yuvj420p")
        destroy(tmp_path / "whole.avi", tmp_path / "damaged.avi", 3, 60)
        reports = Reports()
        decode(tmp_path / "damaged.avi", reports)
        assert reports.lines == [
            "'damaged.avi': frame 3 is broken and skipped",
            "'damaged.avi': frame 60 is broken and skipped",
        ]

    def test_a_file_that_was_cut_short_is_read_to_where_it_ends(self, tmp_path: Path) -> None:
        write_video(
            tmp_path / "whole.mp4",
            library_clip("bikes.mp4", 60),
            options={"bf": "0"},
            container_options={"movflags": "faststart"},
        )
        content = (tmp_path / "whole.mp4").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
        reports = Reports()
        frames = decode(tmp_path / "cut.mp4", reports)
        assert 20 < len(frames) < 60
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert any("of 60 frames" in line for line in reports.lines)


def test_packets_that_hold_no_frame_are_no_broken_frames() -> None:
    """As some of VP8 and of MPEG-4 do; they tell no error."""
    reports = Reports()
    numbering = FrameNumbering("clip", False, reports)
    for time in (0, 1, 2, 3):
        numbering.sent(time)
    assert [numbering.number(time, is_corrupt=False) for time in (0, 3)] == [0, 1]
    numbering.finish()
    assert reports.lines == []


def test_frames_that_come_late_are_not_counted_twice_but_a_clock_that_is_set_is_no_delay() -> None:
    reports = Reports()
    numbering = FrameNumbering("clip", False, reports)

    def number(time: int) -> int | None:
        numbering.sent(time)
        return numbering.number(time, is_corrupt=False)

    for time in (100, 101, 102):
        numbering.sent(time)
    assert numbering.number(100, is_corrupt=False) == 0
    numbering.failed()
    assert numbering.number(102, is_corrupt=False) == 2
    assert numbering.number(101, is_corrupt=False) is None
    assert number(103) == 3
    assert [number(time) for time in range(18)] == [None] * 16 + [4, 5]
    numbering.finish()
    assert reports.lines == ["'clip': frame 1 is broken and skipped"]


class TestOpening:
    def test_what_is_no_video_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "letter.mp4").write_text("dear robot")
        with pytest.raises(MediaError, match=r"'letter\.mp4' cannot be opened: Invalid data found .*; do this"):
            Decoder(address(tmp_path / "letter.mp4"), print)

    def test_a_file_with_only_sound_is_refused(self, tmp_path: Path) -> None:
        with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(8000))
        with pytest.raises(MediaError, match=r"'sound\.wav' contains no video"):
            Decoder(address(tmp_path / "sound.wav"), print)

    def test_a_file_of_which_no_frame_decodes_is_refused(self, tmp_path: Path) -> None:
        write_video(tmp_path / "whole.avi", map(grey, range(3)), "mjpeg", pixels="yuvj420p")
        destroy(tmp_path / "whole.avi", tmp_path / "damaged.avi", 0, 1, 2)
        with pytest.raises(MediaError, match=r"'damaged\.avi' has no frame that can be decoded; do this"):
            Decoder(address(tmp_path / "damaged.avi"), Reports())

    def test_where_pyav_is_missing_it_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(MediaError, match=r"need PyAV: pip install av"):
            Decoder(address(library_path("bikes.mp4")), print)

    def test_a_pyav_that_is_too_old_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(av, "__version__", "17.0.1")
        with pytest.raises(MediaError, match=r"PyAV 17\.0\.1 is too old: pip install --upgrade av"):
            Decoder(address(library_path("bikes.mp4")), print)


def test_closed_in_between_it_ends(tmp_path: Path) -> None:
    decoder = Decoder(address(library_path("bikes.mp4")), print)
    frames = decoder.frames()
    for _ in range(10):
        next(frames)
    decoder.close()
    decoder.close()
    assert len(list(frames)) <= 1
    assert decoder.rate == 25  # which is known without the container


class TestLive:
    """FFmpeg's test pictures stand in for a device: their demuxer is one of a device, too."""

    SOURCE = Address("testsrc=size=64x48:rate=25", "camera", "do this", format="lavfi", live=True)

    def test_frames_come_one_by_one(self) -> None:
        decoder = Decoder(self.SOURCE, print)
        frames = decoder.frames()
        first = [next(frames) for _ in range(5)]
        decoder.close()
        assert [frame.index for frame in first] == list(range(5))
        assert [frame.time for frame in first] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
        assert (decoder.size, decoder.length) == ((64, 48), None)

    def test_what_is_not_compressed_cannot_be_kept(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"'camera' sends uncompressed video.*--input-codec=mjpeg"):
            Decoder(self.SOURCE, print, save=str(tmp_path / "kept.mkv"))
        assert not (tmp_path / "kept.mkv").exists()


class TestKeeping:
    @pytest.mark.parametrize("name", ["kept.mkv", "new/folder/kept.mp4"])
    def test_the_file_holds_the_very_same_pictures(self, name: str, tmp_path: Path) -> None:
        original = decode(library_path("carphone_pristine.mp4"), save=str(tmp_path / name))
        kept = decode(tmp_path / name)
        assert len(kept) == 120
        assert all(np.array_equal(to_bgr(a.image), to_bgr(b.image)) for a, b in zip(original, kept, strict=True))
        times = [frame.time for frame in kept if frame.time is not None and kept[0].time is not None]
        assert np.diff(times) == pytest.approx([1.001 / 30] * 119, abs=0.0011)

    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_its_times_begin_at_zero(self, suffix: str, tmp_path: Path) -> None:
        ten_late = {"output_ts_offset": "10"}
        write_video(tmp_path / "clip.ts", map(grey, range(COUNT)), options={"bf": "2"}, container_options=ten_late)
        late = decode(tmp_path / "clip.ts", save=str(tmp_path / f"kept{suffix}"))
        assert late[0].time == pytest.approx(10, abs=0.1)
        kept = decode(tmp_path / f"kept{suffix}")
        assert numbers(kept) == list(range(COUNT))
        assert kept[0].time == pytest.approx(0.08, abs=0.001)  # two frames, which B frames take to be put in order

    def test_a_file_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            MediaError, match=r"kept\.txt' is not a video format that can be written; use one of \.mp4,"
        ):
            decode(library_path("bikes.mp4"), save=str(tmp_path / "kept.txt"))

    def test_where_it_cannot_go_on_the_frames_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written, write = list[Any](), Recording.write

        def until_the_disk_is_full(self: Recording, packet: Any) -> None:
            if len(written) == 40:
                raise MediaError("the disk is full")
            written.append(packet)
            write(self, packet)

        monkeypatch.setattr(Recording, "write", until_the_disk_is_full)
        reports = Reports()
        frames = decode(library_path("carphone_pristine.mp4"), reports, save=str(tmp_path / "kept.mkv"))
        assert len(frames) == 120
        assert reports.lines == ["the disk is full; the rest of the input is not saved"]
        assert len(decode(tmp_path / "kept.mkv")) == 40

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MediaError, match=r"the input cannot be saved to '.*/file/kept\.mkv': "):
            decode(library_path("carphone_pristine.mp4"), save=str(tmp_path / "file" / "kept.mkv"))

    def test_a_file_that_does_not_take_the_stream_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"the input cannot be saved to '.*kept\.webm': .*; try an \.mkv file"):
            decode(library_path("bikes.mp4"), save=str(tmp_path / "kept.webm"))


def test_levels_are_far_enough_apart() -> None:
    assert min(abs(level(a) - level(b)) for a in range(COUNT) for b in range(a)) >= 8


def test_what_is_left_in_the_decoder_after_a_server_has_gone_is_shown(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.ts", map(grey, range(20)), options={"bf": "2"})
    content = (tmp_path / "clip.ts").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report = Reports()
        address = Address(f"http://127.0.0.1:{server.server_port}/clip.ts", "clip.ts", "try again", timeout=20)
        decoder = Decoder(address, report)
        times = [decoded.time for decoded in decoder.frames() if decoded.time is not None]
        decoder.close()
        server.shutdown()
    assert len(times) == 20
    assert np.diff(times) == pytest.approx(np.full(19, 0.04))
    assert "'clip.ts' cannot be read to the end" in "".join(report.lines)
