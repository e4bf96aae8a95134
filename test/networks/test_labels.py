from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.labels import labels_for, read_labels

# Any text that can be one label: no line ends, no blanks around it, not empty.
LABEL = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"), min_size=1).filter(
    lambda text: text == text.strip() and text != ""
)


@given(labels=st.lists(LABEL, min_size=1), end=st.sampled_from(["", "\n", "\r\n", "\n\n \n"]), bom=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(labels: list[str], end: str, bom: bool, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for line_end in ("\n", "\r\n"):
        path.write_bytes((line_end.join(labels) + end).encode("utf-8-sig" if bom else "utf-8"))
        assert read_labels(path) == tuple(labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "labels.txt is empty"),
        (b"\n \n", "labels.txt is empty"),
        (b"a\n\nb\n", "line 2 is blank; line i must name class i"),
        (b"\xff\xfea\x00", "labels.txt is not UTF-8 text"),
    ],
)
def test_files_that_cannot_be_used(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(NetworkError, match=message):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no.txt cannot be read: No such file"):
        read_labels(tmp_path / "no.txt")


def test_duplicates_are_reported_once_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "labels.txt").write_text("run\nwalk\nrun\nsit\nwalk\nrun\n")
    assert len(read_labels(tmp_path / "labels.txt")) == 6
    (record,) = caplog.records
    assert record.getMessage().endswith("names more than one class: run, walk")


def test_the_count_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"label {index}\n" for index in range(1040)))
    assert len(labels_for(path, 1040, "resnet-18")) == 1040
    with pytest.raises(NetworkError, match="has 1040 labels but network resnet-34 has 700 classes"):
        labels_for(path, 700, "resnet-34")
