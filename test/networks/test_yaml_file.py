from __future__ import annotations

import json
from pathlib import Path

import pytest

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.yaml_file import MAX_SIZE, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("name: mine\nframes: 16\nmean: [0.1, 0.2, 0.3]\n", {"name": "mine", "frames": 16, "mean": [0.1, 0.2, 0.3]}),
        ("[" * 20 + "]" * 20, json.loads("[" * 20 + "]" * 20)),
        ("note: " + "word " * 1000, {"note": ("word " * 1000).strip()}),
        ("digits: '" + "9" * 5000 + "'", {"digits": "9" * 5000}),
    ],
)
def test_files_as_people_write_them(text: str, content: object, tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(text)
    assert read_yaml(path) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 21 + "]" * 21, r"line 1: nested deeper than 20 levels"),
        ("[" * 5_000, r"nested deeper than 20 levels"),
        ("[" * 100_000, r"nested deeper than 20 levels"),
        ("- " * 100_000, r"nested deeper than 20 levels"),
        ("{a: " * 50_000, r"nested deeper than 20 levels"),
        (BOMB, r"line 2: aliases \(\*a0\) are not read"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", r"line 3: aliases"),
        ("a: &a [*a]", r"line 1: aliases"),
        ("frames: " + "9" * 5000, r"line 1: a number has 5000 characters"),
        ("frames: -" + "1:" * 5000 + "1", r"line 1: a number has 10002 characters"),
        ("frames: 0x" + "f" * 5000, r"a number has 5002 characters"),
        ("x" * (MAX_SIZE + 1), r"is larger than 256 KiB"),
        ("day: 2024-13-45", r"cannot be read"),
        ("a: [", r"cannot be read"),
        ("a: \x00", r"cannot be read"),
        ("[{[1]: 2}]: 3", r"cannot be read"),
        ("a: !!python/object:os.system x", r"cannot be read"),
        ("a: !!int ''", r"cannot be read: a value does not fit its tag"),
        ("a: !!float '_'", r"cannot be read: a value does not fit its tag"),
        ("a: !!bool maybe", r"cannot be read: a value does not fit its tag"),
        ("a: !!timestamp soon", r"cannot be read: a value does not fit its tag"),
    ],
)
def test_files_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(text)
    with pytest.raises(NetworkError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_file_that_is_no_utf_8_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(NetworkError, match="cannot be read"):
        read_yaml(path)
    with pytest.raises(NetworkError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
