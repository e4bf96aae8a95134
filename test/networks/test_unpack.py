"""Archives that a stranger made."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ros2_actionnet.errors import LoadCancelled, NetworkError
from ros2_actionnet.networks.unpack import MAX_MEMBERS, largest_content, unpack
from support.archives import archive_of, archive_of_members


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.fixture(name="house")
def house_fixture(tmp_path: Path) -> Iterator[Path]:
    """A folder with an empty folder `room`, beside which nothing may ever appear."""
    house = tmp_path / "house"
    (house / "room").mkdir(parents=True)
    (house / "secret").write_text("untouched")
    yield house
    assert sorted(path.name for path in house.iterdir()) == ["room", "secret"]
    assert (house / "secret").read_text() == "untouched"
    assert not any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in house.rglob("*"))


def put(content: bytes, house: Path) -> Path:
    path = house.parent / "a.tar.gz"
    path.write_bytes(content)
    return path


def refused(content: bytes, house: Path) -> str:
    with pytest.raises(NetworkError) as caught:
        unpack(put(content, house), house / "room")
    return str(caught.value)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_and_folders(form: int, house: Path) -> None:
    long_name = "x" * 150
    weights = os.urandom(700_000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as tar:
        tar.addfile(member("./", tarfile.DIRTYPE))
        tar.addfile(member("./Action", tarfile.DIRTYPE))
        for name, content in {"./Action/model.onnx": weights, f"Action/{'y' * 80}/{long_name[:90]}": b"a"}.items():
            tar.addfile(member(name, size=len(content)), io.BytesIO(content))
    if form != tarfile.USTAR_FORMAT:
        with tarfile.open(fileobj=(again := io.BytesIO()), mode="w:gz", format=form) as tar:
            tar.addfile(member(long_name, size=1), io.BytesIO(b"b"))
        unpack(put(again.getvalue(), house), house / "room")
        assert (house / "room" / long_name).read_bytes() == b"b"
    unpack(put(out.getvalue(), house), house / "room")
    assert (house / "room/Action/model.onnx").read_bytes() == weights
    assert (house / "room/Action" / ("y" * 80) / ("x" * 90)).read_bytes() == b"a"


def test_modes_and_owners_of_the_archive_do_not_count(house: Path) -> None:
    info = member("tool")
    info.mode, info.uid, info.uname = 0o7777, 12345, "somebody"
    unpack(put(archive_of_members([(info, b"x")]), house), house / "room")
    stat = (house / "room/tool").stat()
    assert stat.st_mode & 0o7111 == 0
    assert stat.st_uid == os.getuid()


@pytest.mark.parametrize(
    "name",
    ["/etc/evil", "../evil", "a/../../evil", "a/b/../../../evil", "..", "a/..", "//evil", "./../evil"],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_path_that_leads_out_is_refused(name: str, kind: bytes, house: Path) -> None:
    content = b"x" if kind == tarfile.REGTYPE else b""
    assert f"{name!r} leads out of the folder" in refused(archive_of_members([(member(name, kind), content)]), house)


@pytest.mark.parametrize(
    ("kind", "link", "word"),
    [
        (tarfile.SYMTYPE, "../secret", "a link"),
        (tarfile.SYMTYPE, "/etc/passwd", "a link"),
        (tarfile.SYMTYPE, "other", "a link"),
        (tarfile.LNKTYPE, "../secret", "a link"),
        (tarfile.LNKTYPE, "model.onnx", "a link"),
        (tarfile.CHRTYPE, "", "no plain file"),
        (tarfile.BLKTYPE, "", "no plain file"),
        (tarfile.FIFOTYPE, "", "no plain file"),
        (tarfile.GNUTYPE_SPARSE, "", "no plain file"),
        (b"Z", "", "no plain file"),  # of a kind that nobody knows
    ],
)
def test_anything_but_plain_files_is_refused(kind: bytes, link: str, word: str, house: Path) -> None:
    content = archive_of_members([(member("model.onnx"), b"x"), (member("thing", kind, link), b"")])
    assert f"'thing' is {word}" in refused(content, house)


def test_a_link_and_then_a_file_through_it(house: Path) -> None:
    members = [(member("out", tarfile.SYMTYPE, ".."), b""), (member("out/secret"), b"overwritten")]
    assert "a link" in refused(archive_of_members(members), house)


def sparse_archive(claimed: int) -> bytes:
    """A pax sparse file with nothing in it but a hole of `claimed` bytes."""
    info = member("hole")
    info.pax_headers = {"GNU.sparse.size": str(claimed), "GNU.sparse.numblocks": "0", "GNU.sparse.map": f"{claimed},0"}
    return archive_of_members([(info, b"")])


def test_a_hole_that_would_fill_the_disk_is_refused(house: Path) -> None:
    assert "'hole' is no plain file" in refused(sparse_archive(1 << 40), house)


def test_a_bomb_is_refused_before_it_has_grown(house: Path) -> None:
    content = archive_of({"bomb": b"\0" * 90_000_000})
    assert len(content) < 1_000_000
    assert "unpacks to far more" in refused(content, house)
    assert sum(path.stat().st_size for path in house.rglob("*") if path.is_file()) < largest_content(len(content))


def test_many_files_that_are_a_bomb_together_are_refused(house: Path) -> None:
    content = archive_of({f"file {i}": b"\0" * 9_000_000 for i in range(10)})
    assert "unpacks to far more" in refused(content, house)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_bomb_in_a_header_does_not_fill_the_memory(kind: bytes, house: Path) -> None:
    content = archive_of_members([(member("././@LongLink", kind), b"y" * 60_000_000), (member("x"), b"x")])
    tracemalloc.start()
    message = refused(content, house)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to far more" in message
    assert peak < 20e6


def test_a_bomb_behind_the_end(house: Path) -> None:
    plain = gzip.decompress(archive_of({"a": b"a"}))
    assert "unpacks to far more" in refused(gzip.compress(plain + b"\0" * 10_000_000), house)


def test_thousands_of_files_are_refused(house: Path) -> None:
    assert f"more than {MAX_MEMBERS} files" in refused(archive_of({f"{i}": b"" for i in range(5000)}), house)
    assert len(list((house / "room").iterdir())) == MAX_MEMBERS


def test_names_that_are_too_long_or_too_deep_are_refused(house: Path) -> None:
    assert "is too long" in refused(archive_of({"a/" * 2000 + "b": b""}), house)
    assert "is too long" in refused(archive_of({"x" * 300: b""}), house)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "a"]])
def test_one_name_for_two_files(names: list[str], house: Path) -> None:
    content = archive_of_members([(member(name), b"x") for name in names])
    assert f"holds {names[1]!r} twice" in refused(content, house)


def test_a_size_below_zero(house: Path) -> None:
    plain = bytearray(gzip.decompress(archive_of({"a": b"a" * 600, "b": b"b"})))
    plain[124:136] = b"\xff" * 8 + struct.pack(">i", -1024)
    plain[148:156] = b" " * 8
    plain[148:156] = b"%06o\0 " % sum(plain[:512])
    refused(gzip.compress(bytes(plain)), house)


WHOLE = archive_of({"model.onnx": os.urandom(200_000), "labels.txt": b"a\nb\n"})


@pytest.mark.parametrize("length", [5, 12, 100, 10_000, len(WHOLE) - 20, len(WHOLE) - 1])
def test_an_archive_that_was_cut(length: int, house: Path) -> None:
    assert "a.tar.gz is" in refused(WHOLE[:length], house)


@pytest.mark.parametrize("place", [15, 600, 100_000, len(WHOLE) - 6])
def test_an_archive_with_a_wrong_byte(place: int, house: Path) -> None:
    content = bytearray(WHOLE)
    content[place] ^= 0x5A
    assert "a.tar.gz is damaged or incomplete" in refused(bytes(content), house)


def test_what_follows_an_archive_is_part_of_what_is_checked(house: Path) -> None:
    assert "damaged" in refused(WHOLE + b"more", house)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "is a web page, not an archive; is there a login"),
        (b"\n <html>", "is a web page"),
        (b"PK\x03\x04abcdefg", r"is no .tar.gz (it begins with b'PK\x03\x04abcd')"),
        (b"", "is no .tar.gz (it begins with b'')"),
        (gzip.compress(b""), "is damaged"),
        (gzip.compress(b"hello"), "is damaged"),
        (gzip.compress(b"\xff" * 5000), "is damaged"),
    ],
)
def test_what_is_no_archive(content: bytes, message: str, house: Path) -> None:
    assert message in refused(content, house)


def test_an_empty_archive_unpacks_to_nothing(house: Path) -> None:
    unpack(put(archive_of({}), house), house / "room")
    assert list((house / "room").iterdir()) == []


def test_it_can_be_cancelled_on_the_way(house: Path) -> None:
    def cancel() -> None:
        raise LoadCancelled("enough")

    with pytest.raises(LoadCancelled):
        unpack(put(WHOLE, house), house / "room", cancel)


def test_a_full_disk_is_the_systems_own_error(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(put(WHOLE, house), house / "room")


def test_random_damage_never_does_more_than_be_refused(house: Path) -> None:
    chance = random.Random(5)
    plain = gzip.decompress(archive_of({"Action/model.onnx": b"m" * 3000, "Action/labels.txt": b"a\nb\n"}))
    for number in range(100):
        content: Any = bytearray(plain)
        for _ in range(chance.choice([1, 3, 30])):
            header = chance.choice([0, 512 + 3072])
            content[header + chance.randrange(512)] = chance.choice([0, 0x2E, 0x2F, 0x80, 0xFF, chance.randrange(256)])
        if chance.random() < 0.8:  # with a checksum that fits
            for header in (0, 512 + 3072):
                content[header + 148 : header + 156] = b" " * 8
                content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])
        room = house / "room" / str(number)
        room.mkdir()
        with suppress(NetworkError):
            unpack(put(gzip.compress(bytes(content), 1), house), room)
