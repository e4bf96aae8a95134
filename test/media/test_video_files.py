"""Video files as sources and sinks."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from ros2_actionnet.errors import MediaError
from ros2_actionnet.media.base import ClassifiedFrame, InputOptions, OutputOptions
from ros2_actionnet.media.video_files import VideoSink, VideoSource
from support.clips import library_clip, read_clip
from support.fakes import TIMEOUT
from support.videos import PictureSource, Reports, annotated, frame_of, grey, levels, psnr, write_video

COUNT = 20


@pytest.fixture(name="clip", scope="module")
def clip_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, map(grey, range(COUNT)), options={"bf": "2"})
    return str(path)


def opened(path: str, **options: object) -> VideoSource:
    return VideoSource(path, InputOptions(**options), Reports())  # type: ignore[arg-type]


class TestSource:
    def test_it_says_what_it_is(self, clip: str) -> None:
        source = opened(clip)
        assert (source.name, source.rate, source.size, source.length, source.is_live) == (
            clip,
            25.0,
            (64, 48),
            COUNT,
            False,
        )
        source.close()

    def test_frames_have_their_times_and_pixels(self, clip: str) -> None:
        frames = list(opened(clip).frames())
        assert [frame.index for frame in frames] == list(range(COUNT))
        times = [index / 25 for index in range(COUNT)]
        assert [frame.time for frame in frames] == [frame.stamp / 1e9 for frame in frames] == pytest.approx(times)
        assert levels(opened(clip)) == list(range(COUNT))

    def test_times_begin_at_zero_where_the_files_do_not(self, tmp_path: Path) -> None:
        write_video(tmp_path / "clip.ts", map(grey, range(5)), options={"bf": "2"})
        with av.open(str(tmp_path / "clip.ts")) as container:
            assert next(container.decode(video=0)).time > 0.05
        times = [frame.time for frame in opened(str(tmp_path / "clip.ts")).frames()]
        assert times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])

    def test_a_file_without_times_has_a_rate(self, tmp_path: Path) -> None:
        write_video(tmp_path / "clip.avi", map(grey, range(5)), options={"bf": "2"})
        source = opened(str(tmp_path / "clip.avi"))
        assert [frame.time for frame in source.frames()] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])

    def test_times_that_run_backwards_are_set_right(self, tmp_path: Path) -> None:
        for name in ("one.ts", "two.ts"):
            write_video(tmp_path / name, map(grey, range(10)), options={"bf": "0"})
        joined = tmp_path / "joined.ts"
        joined.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "two.ts").read_bytes())
        frames = list(opened(str(joined)).frames())
        assert len(frames) == 20
        assert np.diff([frame.time for frame in frames]) == pytest.approx([0.04] * 19)

    def test_a_jump_is_one_interval_in_the_output_and_stays_in_the_stamps(self, tmp_path: Path) -> None:
        times = [index / 25 + (index >= 5) * 30_000 for index in range(10)]
        write_video(tmp_path / "clip.mkv", map(grey, range(10)), times=times, options={"bf": "0"})
        frames = list(opened(str(tmp_path / "clip.mkv")).frames())
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(10)], abs=0.002)
        assert [frame.stamp / 1e9 for frame in frames] == pytest.approx(times, abs=0.002)

    def test_long_recordings_that_were_joined_go_back_in_the_stamps_alone(self, tmp_path: Path) -> None:
        for name in ("one.ts", "two.ts"):
            write_video(tmp_path / name, map(grey, range(50)), options={"bf": "0"})
        joined = tmp_path / "joined.ts"
        joined.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "two.ts").read_bytes())
        frames = list(opened(str(joined)).frames())
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(100)])
        assert [frame.stamp / 1e9 for frame in frames] == pytest.approx([index / 25 for index in range(50)] * 2)

    @pytest.mark.parametrize("loop", [0, 1, 2])
    def test_a_loop_goes_on_without_a_gap(self, loop: int, clip: str) -> None:
        source = opened(clip, loop=loop)
        assert source.length == COUNT * (loop + 1)
        frames = list(source.frames())
        assert [frame.index for frame in frames] == list(range(COUNT * (loop + 1)))
        assert np.diff([frame.time for frame in frames]) == pytest.approx([0.04] * (len(frames) - 1))
        assert levels(opened(clip, loop=loop)) == list(range(COUNT)) * (loop + 1)

    def test_a_loop_for_ever_goes_on_until_it_is_closed(self, clip: str) -> None:
        source = opened(clip, loop=-1)
        assert source.length is None
        frames = source.frames()
        seen = [frame.index for frame in itertools.islice(frames, 3 * COUNT + 5)]
        assert seen == list(range(3 * COUNT + 5))
        source.close()
        assert len(list(frames)) <= 1

    def test_after_a_damaged_end_a_loop_counts_on(self, tmp_path: Path) -> None:
        write_video(tmp_path / "whole.avi", map(grey, range(10)), "mjpeg", pixels="yuvj420p")
        content = bytearray((tmp_path / "whole.avi").read_bytes())
        with av.open(str(tmp_path / "whole.avi")) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][-1]
            position = content.index(bytes(packet), packet.pos)
            content[position + 8 : position + packet.size] = bytes(packet.size - 8)
        (tmp_path / "damaged.avi").write_bytes(content)
        source = VideoSource(str(tmp_path / "damaged.avi"), InputOptions(loop=1), Reports())
        assert [frame.index for frame in source.frames()] == [*range(9), *range(10, 19)]

    def test_another_thread_may_close_it_at_any_time(self, clip: str) -> None:
        for wanted in (1, 7, 19, 20, 21):
            source = opened(clip, loop=-1)
            reached, seen = threading.Event(), list[int]()

            def read(source: VideoSource = source, seen: list[int] = seen, wanted: int = wanted) -> None:
                for frame in source.frames():
                    seen.append(frame.index)
                    if len(seen) == wanted:
                        reached.set()  # noqa: B023 - the thread ends in this round

            reader = threading.Thread(target=read)
            reader.start()
            assert reached.wait(TIMEOUT)
            source.close()
            reader.join(TIMEOUT)
            assert not reader.is_alive()

    def test_it_is_scaled(self, clip: str) -> None:
        source = opened(clip, width=32, height=20)
        assert source.size == (32, 20)
        assert next(iter(source.frames())).picture.shape == (20, 32, 3)

    def test_it_is_kept(self, clip: str, tmp_path: Path) -> None:
        source = opened(clip, save=str(tmp_path / "kept.mkv"), loop=1)
        assert len(list(source.frames())) == 2 * COUNT
        source.close()
        assert levels(opened(str(tmp_path / "kept.mkv"))) == list(range(COUNT))


class TestSink:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_the_file_has_the_frames_with_their_times(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / "new" / f"out{suffix}"
        clip = library_clip("bikes.mp4", 30)
        source = PictureSource(clip, size=(640, 272))
        sink = VideoSink(str(path), OutputOptions(), source)
        assert sink.wants_pictures
        times = [5 + index / 25 + (index > 15) * 0.1 for index in range(30)]  # beginning late, and with a gap
        for index, (picture, time) in enumerate(zip(clip, times, strict=True)):
            sink.write(annotated(picture, index, time))
        sink.close()
        sink.close()
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            frames = list(container.decode(video=0))
        assert [frame.time for frame in frames] == pytest.approx([time - 5 for time in times], abs=0.0006)
        assert min(psnr(a, b) for a, b in zip(clip, read_clip(path), strict=True)) > 36

    def test_a_frame_without_a_picture_is_left_out(self, tmp_path: Path) -> None:
        sink = VideoSink(str(tmp_path / "out.mp4"), OutputOptions(), PictureSource())
        for index in range(4):
            result = annotated(grey(index), index, index / 25)
            sink.write(result if index != 2 else ClassifiedFrame(frame_of(grey(index)), None, False))
        sink.close()
        assert levels(opened(str(tmp_path / "out.mp4"))) == [0, 1, 3]

    def test_without_frames_there_is_no_file(self, tmp_path: Path) -> None:
        sink = VideoSink(str(tmp_path / "out.mp4"), OutputOptions(), PictureSource())
        sink.close()
        assert list(tmp_path.iterdir()) == []

    def test_a_source_that_does_not_know_its_size_is_no_hindrance(self, tmp_path: Path) -> None:
        sink = VideoSink(str(tmp_path / "out.mkv"), OutputOptions(), PictureSource(size=(0, 0)))
        sink.write(annotated(grey(3), 0, 0.0))
        sink.close()
        assert levels(opened(str(tmp_path / "out.mkv"))) == [3]

    def test_the_codec_is_as_asked_for(self, tmp_path: Path) -> None:
        sink = VideoSink(str(tmp_path / "out.mkv"), OutputOptions("VP9"), PictureSource())
        sink.write(annotated(grey(3)))
        sink.close()
        with av.open(str(tmp_path / "out.mkv")) as container:
            assert container.streams.video[0].codec_context.name == "vp9"

    def test_a_file_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MediaError, match=r"'.*/file/out\.mp4' cannot be written: "):
            VideoSink(str(tmp_path / "file" / "out.mp4"), OutputOptions(), PictureSource())
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(MediaError, match=r"'.*/folder\.mp4' cannot be written: Is a directory"):
            VideoSink(str(tmp_path / "folder.mp4"), OutputOptions(), PictureSource())

    def test_a_disk_that_is_full_is_told_of(self, tmp_path: Path) -> None:
        done = run(tmp_path, "out.mkv", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
        assert "MediaError: '" in done.stderr
        assert "cannot be written: File too large" in done.stderr


PROGRAM = """
import os, sys
sys.path[:0] = {path!r}
{preparation}
from ros2_actionnet.media.base import OutputOptions
from ros2_actionnet.media.video_files import VideoSink
from support.clips import library_clip
from support.videos import PictureSource, annotated
clip = library_clip("bikes.mp4", 125)
sink = VideoSink({target!r}, OutputOptions(), PictureSource(size=(640, 272)))
for index, picture in enumerate(clip):
    sink.write(annotated(picture, index, index / 25))
os.kill(os.getpid(), 9)
"""


def run(folder: Path, name: str, preparation: str = "") -> subprocess.CompletedProcess[str]:
    """A process that writes five seconds of video and is killed then."""
    program = PROGRAM.format(path=sys.path, preparation=preparation, target=str(folder / name))
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def seconds_of(frames: Iterator[object]) -> float:
    return sum(1 for _ in frames) / 25


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.avi"])
def test_a_killed_process_leaves_a_file_that_can_be_played(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, name)
    assert done.returncode == -9, done.stderr
    reports = Reports()
    source = VideoSource(str(tmp_path / name), InputOptions(), reports)
    frames = list(source.frames())
    assert len(frames) >= 75  # of 125: the last two seconds may be missing
    clip = library_clip("bikes.mp4", 125)
    assert min(psnr(clip[frame.index], frame.picture) for frame in frames) > 33
    assert len(read_clip(tmp_path / name)) == pytest.approx(len(frames), abs=1)


def test_a_finished_mp4_is_an_ordinary_one(tmp_path: Path) -> None:
    sink = VideoSink(str(tmp_path / "out.mp4"), OutputOptions(), PictureSource())
    for index in range(COUNT):
        sink.write(annotated(grey(index), index, index / 25))
    sink.close()
    content, position, boxes = (tmp_path / "out.mp4").read_bytes(), 0, []
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        boxes.append(name)
        position += size
    assert boxes == [b"ftyp", b"free", b"mdat", b"moov"]  # no fragments
