from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.labels import labels_for, read_labels

# Any text that can be one label: no line ends, no blanks around it, not empty, and nothing that means another format.
LABEL = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Nd"), blacklist_characters="\ufeff[{<-;,:\"'"), min_size=1
).filter(lambda text: text == text.strip() and text != "")

ACTIONS = ("walk", "sit down", "fall, then lie", "50 meter race")


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
        (b"caf\xe9\n", "labels.txt is not UTF-8 text .* save it as UTF-8"),
        (b"PK\x03\x04...", "labels.txt is a ZIP archive"),
        (b"\x80\x04\x95", "labels.txt is a Python pickle"),
        (b"\x08\x08\x12", "labels.txt is an ONNX model"),
        (b"<html><body>", "labels.txt is XML or a web page"),
        (b"item {\n  id: 1\n}", r"labels.txt is a protobuf label map \(.pbtxt\)"),
        (b'{"0": "a", ', "labels.txt looks like JSON but is damaged"),
        (b'{"task": "x"}', "is JSON, but it .*does not map numbers to labels"),
        (b'{"0": "a", "2": "b"}', "is JSON, but it has no label for class 1"),
        (b"[]", "is JSON, but it holds no labels"),
        (b"[1.5, 2]", "is JSON, but '1.5' is no label"),
        (b"id,name\n0,a\n2,b\n", "is CSV, but it has no label for class 1"),
        (b"id,name\n0,a\n0,b\n", "is CSV, but it names class 0 twice: 'a' and 'b'"),
        (b"0,a,x\n1,b,y\n", "is CSV with 3 columns and no header"),
    ],
)
def test_files_that_cannot_be_used(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(NetworkError, match=message):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: " + "[" * 3000, "looks like YAML but is nested too deeply"),
        ("names:\n" + "- " * 20_000, "looks like YAML but is nested too deeply"),
        ("names:\n\t- walk\n\t- sit", "looks like YAML but is damaged"),
        ("names: [walk, sit]\n---\nnames: [fall]", "looks like YAML but is damaged"),
        (
            '{"0": "' + "a" * 100_000 + '", "00": "b"}',
            r"it names class 00 twice: 'a+\.\.\. \(999\d\d more characters\)",
        ),
        ('{"' + "9" * 5000 + '": "a"}', "is JSON, but it has none of"),
    ],
)
def test_yaml_and_json_that_would_be_misread(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(text)
    with pytest.raises(NetworkError, match=message) as caught:
        read_labels(tmp_path / "labels")
    assert len(str(caught.value)) < 600


def test_a_list_with_what_yaml_wants_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("- @work\n- 50 % off\n- %x\n- 'sit'\n")
    assert read_labels(tmp_path / "labels") == ("@work", "50 % off", "%x", "sit")


def test_labels_can_be_written_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text('["sk\\ud800i", "\\ud83c\\udfbf"]')
    assert read_labels(tmp_path / "labels") == ("sk\ufffdi", "\U0001f3bf")


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


def quoted(labels: tuple[str, ...]) -> list[str]:
    return [json.dumps(label) for label in labels]


FORMATS = {
    "one a line": "\n".join(ACTIONS),
    "quoted": "\n".join(quoted(ACTIONS)),
    "quoted, with commas": ",\n".join(quoted(ACTIONS)),
    "JSON list": json.dumps(ACTIONS),
    "JSON id to name": json.dumps(dict(enumerate(ACTIONS)), indent=1),
    "JSON name to id": json.dumps({label: index for index, label in reversed(list(enumerate(ACTIONS)))}),
    "JSON name to id in text": json.dumps({label: str(index) for index, label in enumerate(ACTIONS)}),
    "config.json": json.dumps({"model_type": "videomae", "id2label": dict(enumerate(ACTIONS)), "label2id": {"x": 0}}),
    "config.json in another": json.dumps({"config": {"id2label": dict(enumerate(ACTIONS))}}),
    "config.json in text": json.dumps({"id2label": json.dumps(dict(enumerate(ACTIONS)))}),
    "JSON, names in quotes of their own": json.dumps({f'"{label}"': index for index, label in enumerate(ACTIONS)}),
    "JSON objects": json.dumps([{"id": 3 - i, "name": label} for i, label in enumerate(reversed(ACTIONS))]),
    "JSON objects without numbers": json.dumps([{"label": label} for label in ACTIONS]),
    "JSON id to object": json.dumps({index: {"name": label} for index, label in enumerate(ACTIONS)}),
    "JSON id to synset and name": json.dumps({index: [f"n{index}", label] for index, label in enumerate(ACTIONS)}),
    "JSON lines": "\n".join(json.dumps({"id": index, "label": label}) for index, label in enumerate(ACTIONS)),
    "Python dictionary": repr(dict(enumerate(ACTIONS))),
    "Python list": repr(list(ACTIONS)),
    "CSV": "id,name\n" + "\n".join(f"{index},{label}" for index, label in enumerate(quoted(ACTIONS))),
    "CSV with semicolons": "Index;Label\n" + "\n".join(f"{index};{label}" for index, label in enumerate(ACTIONS)),
    "CSV with tabs, name first": "name\tid\n" + "\n".join(f"{label}\t{i}" for i, label in enumerate(ACTIONS)),
    "CSV without a header": "\n".join(f"{index}, {label}" for index, label in enumerate(quoted(ACTIONS))),
    "CSV, name first": "\n".join(f"{label},{index}" for index, label in enumerate(quoted(ACTIONS))),
    "CSV with more columns": "id,name,set\n" + "\n".join(f"{i},{label},x" for i, label in enumerate(quoted(ACTIONS))),
    "CSV from 1, in any order": "\n".join(f"{index + 1};{ACTIONS[index]}" for index in (2, 0, 3, 1)),
    "numbered": "\n".join(f"{index} {label}" for index, label in enumerate(ACTIONS)),
    "numbered from 1": "\n".join(f"{index}. {label}" for index, label in enumerate(ACTIONS, 1)),
    "numbered with zeros": "\n".join(f"{index:03}: {label}" for index, label in enumerate(ACTIONS)),
    "numbered, with tabs": "\n".join(f"{index}\t{label}" for index, label in enumerate(ACTIONS)),
    "numbered and quoted": "\n".join(f"{index} {label}," for index, label in enumerate(quoted(ACTIONS))),
    "numbered with brackets": "\n".join(f"[{index}] {label}" for index, label in enumerate(ACTIONS)),
    "numbered with arrows": "\n".join(f"{index} -> {label}" for index, label in enumerate(ACTIONS)),
    "numbered with a word": "\n".join(f"class {index}: {label}" for index, label in enumerate(ACTIONS)),
    "Python assignment": f"LABELS = {list(ACTIONS)!r}",
    "Python assignment below a comment": f"# of mine\n\nLABELS = {ACTIONS!r}",
    "Python tuple": repr(ACTIONS),
    "CSV with one column": "\n".join(json.dumps(label) if "," in label else label for label in ACTIONS),
    "CSV with a header in words": "Class ID\tClass Name\n"
    + "\n".join(f"{i}\t{label}" for i, label in enumerate(ACTIONS)),
    "number last": "\n".join(f"{label}: {index}" for index, label in enumerate(ACTIONS)),
    "semicolons on one line": ";".join(ACTIONS),
    "semicolons on one line, one at the end": ";".join(ACTIONS) + ";\n",
    "YAML list": "\n".join(f"- {label}" for label in ACTIONS),
    "YAML names": "nc: 4\nnames:\n" + "\n".join(f"  {index}: {label}" for index, label in enumerate(ACTIONS)),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_the_same_labels(format_: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    for line_end in ("\n", "\r\n"):
        path.write_bytes((FORMATS[format_].replace("\n", line_end) + line_end).encode(encoding))
        assert read_labels(path) == ACTIONS


@pytest.mark.parametrize(
    "labels",
    [
        ("2 people", "3 people", "no one"),
        ("1 person", "2 people", "3 people"),  # counts from 1, but is no numbering
        ("50 meter race", "100 meter race"),
        ("0 people", "2 people"),  # a gap
        ("action 0", "action 1", "action 2"),
        ("tai chi, slow", "tai chi, fast"),
        ("rock'n'roll", '"quoted" word'),
        ("[unused]", "walk"),
        ("bench press: heavy", "bench press: light"),
        ("yes", "no", "null"),
        ("class", "sport", "music"),
        ("class 0", "class 1", "class 2"),
        ("(0) nothing", "(2) something"),
    ],
)
def test_ordinary_lists_stay_as_they_are(labels: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    assert read_labels(tmp_path / "labels.txt") == labels


def test_numbered_labels_of_which_one_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 walk\n1 sit\n2 fall\n3 run\n4 run\n")
    assert read_labels(tmp_path / "labels.txt") == ("walk", "sit", "fall", "run", "run")


def test_a_header_above_one_column_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label\nwalk\nsit\n")
    assert labels_for(tmp_path / "labels.csv", 2, "mine") == ("walk", "sit")
    assert labels_for(tmp_path / "labels.csv", 3, "mine") == ("label", "walk", "sit")


def test_one_label_off_is_explained(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("walk\nsit\nfall")
    with pytest.raises(NetworkError, match=r"has 3 labels but network mine has 4 classes; .* a line `background`"):
        labels_for(tmp_path / "labels.txt", 4, "mine")
    with pytest.raises(NetworkError, match=r"background class that the network lacks .* 'walk', the last 'fall'"):
        labels_for(tmp_path / "labels.txt", 2, "mine")


def test_a_downloaded_network_is_not_refused_for_one_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"label {index}\n" for index in range(1039)))
    labels = labels_for(path, 1040, "resnet-18", is_downloaded=True)
    assert len(labels) == 1040 and labels[1038:] == ("label 1038", "class 1039")
    assert labels_for(path, 1038, "resnet-18", is_downloaded=True)[-1] == "label 1037"
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "the last ones are called 'class N'",
        "the last ones are ignored",
    ]
    with pytest.raises(NetworkError, match="has 1039 labels but network resnet-18 has 700 classes"):
        labels_for(path, 700, "resnet-18", is_downloaded=True)
