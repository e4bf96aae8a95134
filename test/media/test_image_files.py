"""Images and folders of them, in and out."""

from __future__ import annotations

import itertools
import resource
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ros2_actionnet.errors import ImageError, MediaError
from ros2_actionnet.media.base import ClassifiedFrame, InputOptions, OutputOptions
from ros2_actionnet.media.image_files import IMAGE_SUFFIXES, ImageSink, ImageSource, natural_order, read_image
from support.clips import library_clip
from support.videos import Reports, annotated, frame_of, grey, levels, psnr


def write(path: Path, index: int = 0) -> None:
    assert cv2.imwrite(str(path), grey(index))


def source_of(path: Path, report: Reports | None = None, **options: Any) -> ImageSource:
    return ImageSource(path, InputOptions(**options), Reports() if report is None else report)


class TestReading:
    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_every_format_is_read(self, suffix: str, tmp_path: Path) -> None:
        written = library_clip("bikes.mp4", 1)[0]
        if suffix in (".pgm", ".pbm"):
            written = np.asarray(cv2.cvtColor(written, cv2.COLOR_BGR2GRAY), np.uint8)
        if suffix == ".pbm":
            written = np.where(written > 128, 255, 0).astype(np.uint8)
        if not cv2.imwrite(str(tmp_path / f"picture{suffix}"), written):
            pytest.skip(f"this OpenCV writes no {suffix}")
        expected = written if written.ndim == 3 else np.repeat(written[..., None], 3, axis=2)
        assert psnr(read_image(tmp_path / f"picture{suffix}"), expected) > 33

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_says_which_side_is_up(self, orientation: int, tmp_path: Path) -> None:
        picture = Image.fromarray(np.ascontiguousarray(library_clip("bikes.mp4", 1)[0][:, :, ::-1]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "picture.jpg", exif=exif, quality=95)
        with Image.open(tmp_path / "picture.jpg") as reopened:
            upright = np.asarray(ImageOps.exif_transpose(reopened))[:, :, ::-1]
        read = read_image(tmp_path / "picture.jpg")
        assert read.shape == upright.shape
        assert psnr(read, np.ascontiguousarray(upright)) > 40

    def test_grey_and_deep_and_transparent_ones_become_bgr_of_their_depth(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "grey.png"), np.full((5, 6), 90, np.uint8))
        cv2.imwrite(str(tmp_path / "deep.png"), np.full((5, 6, 3), 90 * 257, np.uint16))
        cv2.imwrite(str(tmp_path / "clear.png"), np.full((5, 6, 4), 90, np.uint8))
        for name in ("grey", "deep", "clear"):
            read = read_image(tmp_path / f"{name}.png")
            assert read.shape == (5, 6, 3)
            assert read.dtype == (np.uint16 if name == "deep" else np.uint8)
            assert (read == (90 * 257 if name == "deep" else 90)).all()

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_what_is_cut_short_is_broken_and_not_half_grey(self, suffix: str, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / f"whole{suffix}"), library_clip("bikes.mp4", 1)[0])
        content = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) // 2])
        with pytest.raises(ImageError, match=rf"cut{suffix}' is not an image that OpenCV can read, or is damaged"):
            read_image(tmp_path / f"cut{suffix}")

    @pytest.mark.parametrize("content", [b"", b"dear robot", b"\xff\xd8\xff"])
    def test_what_is_no_image_is_named(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "letter.jpg").write_bytes(content)
        with pytest.raises(ImageError, match=r"letter\.jpg' is not an image|letter\.jpg' cannot be read"):
            read_image(tmp_path / "letter.jpg")


class TestFolder:
    def test_images_come_in_their_natural_order_at_the_rate(self, tmp_path: Path) -> None:
        for index, name in enumerate(("img1.png", "img2.png", "IMG10.png", "img11.png", "img100.png")):
            write(tmp_path / name, index)
        (tmp_path / "notes.txt").write_text("no image")
        (tmp_path / "img3.png").mkdir()
        source = source_of(tmp_path, rate=10.0)
        assert (source.rate, source.size, source.length, source.is_live) == (10.0, (64, 48), 5, False)
        frames = list(source.frames())
        assert levels(source) == [0, 1, 2, 3, 4]
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.time for frame in frames] == [frame.stamp / 1e9 for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4]

    def test_numbers_anywhere_in_the_name_count(self) -> None:
        names = ["a2b10", "a2b9", "a10b1", "a1", "b", "10", "9", "a", "²"]
        assert sorted(names, key=lambda name: natural_order(Path(name))) == [
            "9", "10", "a", "a1", "a2b9", "a2b10", "a10b1", "b", "²",
        ]  # fmt: skip

    def test_without_a_rate_it_is_thirty(self, tmp_path: Path) -> None:
        write(tmp_path / "one.png")
        assert source_of(tmp_path).rate == 30.0

    def test_broken_images_are_told_of_and_keep_their_places(self, tmp_path: Path) -> None:
        for index in range(6):
            write(tmp_path / f"{index}.png", index)
        (tmp_path / "0.png").write_bytes(b"not an image")
        (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:20])
        reports = Reports()
        source = source_of(tmp_path, reports)
        assert [frame.index for frame in source.frames()] == [1, 2, 4, 5]
        assert len(reports.lines) == 2
        assert "0.png' is not an image that OpenCV can read" in reports.lines[0]
        assert reports.lines[1].endswith("3.png' is not an image that OpenCV can read, or is damaged; it is skipped")

    def test_a_pattern_names_some(self, tmp_path: Path) -> None:
        for index, name in enumerate(("left_1.png", "left_2.png", "right_1.png", "left_10.png")):
            write(tmp_path / name, index)
        assert levels(source_of(tmp_path / "left_*.png")) == [0, 1, 3]
        assert levels(source_of(tmp_path / "*_[1].png")) == [0, 2]

    def test_a_single_image_is_one_frame(self, tmp_path: Path) -> None:
        write(tmp_path / "one.png", 4)
        source = source_of(tmp_path / "one.png")
        assert source.length == 1
        assert levels(source) == [4]

    def test_it_loops(self, tmp_path: Path) -> None:
        for index in range(3):
            write(tmp_path / f"{index}.png", index)
        source = source_of(tmp_path, loop=1, rate=10.0)
        assert source.length == 6
        frames = list(source.frames())
        assert [frame.index for frame in frames] == list(range(6))
        assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
        for_ever = source_of(tmp_path, loop=-1)
        assert for_ever.length is None
        frames_for_ever = for_ever.frames()
        assert [frame.index for frame in itertools.islice(frames_for_ever, 8)] == list(range(8))
        for_ever.close()
        assert list(frames_for_ever) == []

    def test_a_folder_without_images_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no image")
        with pytest.raises(MediaError, match=r"contains no images; names of images end in \.jpg, \.jpeg, \.png"):
            source_of(tmp_path)

    def test_a_folder_of_broken_images_is_refused_with_a_reason(self, tmp_path: Path) -> None:
        for index in range(2):
            (tmp_path / f"{index}.png").write_bytes(b"not an image")
        with pytest.raises(MediaError, match=r"none of the 2 images of '.*' can be read: '.*0\.png' is not an image"):
            source_of(tmp_path)


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestSink:
    def fill(self, path: str, indices: tuple[int, ...] = (0, 1, 5)) -> None:
        sink = ImageSink(path, OutputOptions())
        assert sink.wants_pictures
        for index in indices:
            sink.write(annotated(grey(index), index, index / 25))
        sink.close()
        sink.close()

    @pytest.mark.parametrize("end", ["out", "out/", "new/folder.d/", "out.jpg/"])
    def test_a_folder_gets_numbers_which_are_the_frames(self, end: str, tmp_path: Path) -> None:
        self.fill(f"{tmp_path}/{end}")
        folder = tmp_path / end
        assert written(folder) == ["000000.jpg", "000001.jpg", "000005.jpg"]
        assert levels(source_of(folder)) == [0, 1, 5]

    def test_a_folder_that_is_there_is_one_whatever_it_is_called(self, tmp_path: Path) -> None:
        (tmp_path / "frames.png").mkdir()
        self.fill(str(tmp_path / "frames.png"), (0,))
        assert written(tmp_path) == ["frames.png/000000.jpg"]

    @pytest.mark.parametrize("name", ["frame_%03d.png", "frame_%i.png", "frame_*.png"])
    def test_a_name_says_where_the_number_goes(self, name: str, tmp_path: Path) -> None:
        self.fill(str(tmp_path / name))
        expected = {"%03d": "frame_{:03}.png", "%i": "frame_{}.png", "*": "frame_{:06}.png"}
        form = expected[name[6:-4]]
        assert written(tmp_path) == sorted(form.format(index) for index in (0, 1, 5))
        assert cv2.imread(str(tmp_path / form.format(5)))[0, 0].tolist() == [50, 50, 50]  # type: ignore[index]

    def test_a_single_file_keeps_the_newest(self, tmp_path: Path) -> None:
        self.fill(str(tmp_path / "newest.bmp"))
        assert written(tmp_path) == ["newest.bmp"]
        assert (read_image(tmp_path / "newest.bmp") == grey(5)).all()

    @pytest.mark.parametrize("name", ["newest.png", "frame_%d.png"])
    def test_a_disk_that_fills_up_leaves_whole_images_alone(self, name: str, tmp_path: Path) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
        sink = ImageSink(str(tmp_path / name), OutputOptions())
        sink.write(annotated(grey(0)))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(MediaError, match="cannot be written: File too large"):
                sink.write(annotated(noise, 1, 0.04))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        (path,) = tmp_path.iterdir()
        assert (read_image(path) == grey(0)).all()

    def test_a_frame_without_a_picture_is_left_out(self, tmp_path: Path) -> None:
        sink = ImageSink(str(tmp_path / "out"), OutputOptions())
        sink.write(ClassifiedFrame(frame_of(grey(0)), None, False))
        assert written(tmp_path) == []

    @pytest.mark.parametrize(
        "name",
        ["frame_%s%d.png", "frame_%q.png", "frame_%d_%d.png", "frame_%c.png", "frame_%9999999999d.png", "100%.png"],
    )
    def test_a_name_that_makes_no_sense_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="has an invalid placeholder for the image number; write %06d"):
            ImageSink(str(tmp_path / name), OutputOptions())

    def test_a_suffix_that_is_no_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            MediaError, match=r"'.*out\.xyz' is not an image format that can be written; use one of \.jpg"
        ):
            ImageSink(str(tmp_path / "out.xyz"), OutputOptions())

    def test_what_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MediaError, match=r"the folder '.*/file/out' cannot be made: "):
            ImageSink(str(tmp_path / "file" / "out" / "x.jpg"), OutputOptions())
        sink = ImageSink(str(tmp_path / "out"), OutputOptions())
        (tmp_path / "out" / "000000.jpg").mkdir()
        with pytest.raises(MediaError, match=r"'.*/000000\.jpg' cannot be written: Is a directory"):
            sink.write(annotated(grey(0)))
