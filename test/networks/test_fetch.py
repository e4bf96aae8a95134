"""Networks of the catalogue onto this machine: once, whole, and the same ever after."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_actionnet.action_net import ActionNet
from ros2_actionnet.errors import LoadCancelled, NetworkError, NetworkNotFetched
from ros2_actionnet.networks import Catalogue, CatalogueEntry, NetworkRequest, download, prepare, resolve
from ros2_actionnet.networks.catalogue import Archive
from ros2_actionnet.networks.fetch import check_request, fetch, obtain, pin_of
from support.archives import RESNET_18, Server, archive_of, resnet_18_archive, send, serving
from support.monitors import Recorder

FILE, MODEL = RESNET_18[:2]
LABELS = ("dark", "dim", "bright")
REQUEST = NetworkRequest("resnet18")


@pytest.fixture(name="networks")
def networks_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of networks, which does not exist yet; no proxy, no mirror, short pauses."""
    folder = tmp_path / "cache" / "networks"
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(folder))
    monkeypatch.delenv("ACTIONNET_MIRROR", raising=False)
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.001)
    return folder


@pytest.fixture(name="archive", scope="module")
def archive_fixture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return resnet_18_archive(tmp_path_factory.mktemp("network"), LABELS)


@pytest.fixture(name="server")
def server_fixture(archive: bytes) -> Iterator[Server]:
    with serving(archive) as server:
        yield server


@pytest.fixture(name="entry")
def entry_fixture(server: Server, networks: Path) -> CatalogueEntry:
    """The catalogue's resnet-18, published by `server`."""
    return at(f"{server.url}/static/abc.gz")


def at(url: str, sha256: str = "") -> CatalogueEntry:
    return replace(Catalogue.load().find("resnet18"), archive=Archive(url, FILE, sha256))


def refused(entry: CatalogueEntry, **options: Any) -> str:
    with pytest.raises(NetworkError) as caught:
        fetch(entry, **options)
    return str(caught.value)


def left_in(networks: Path) -> list[str]:
    """What is in the user's folder, but for the lock."""
    return sorted(path.name for path in networks.iterdir() if not path.name.endswith(".lock"))


def test_a_network_is_fetched_once_and_is_then_here(entry: CatalogueEntry, server: Server, networks: Path) -> None:
    monitor = Recorder()
    folder = fetch(entry, monitor)
    assert folder == networks / "resnet-18"
    assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]
    assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "network.yaml", MODEL]
    assert monitor.said[0].startswith("downloading resnet-18, ")
    assert monitor.said[-1] == "unpacking resnet-18"
    spec = resolve(REQUEST)
    assert (spec.name, spec.model, spec.labels) == ("resnet-18", folder / MODEL, folder / "labels.txt")
    assert (spec.input_blob, spec.output_blob) == RESNET_18[2:], "from the catalogue"
    assert spec.sha256 == hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    network = prepare(spec)
    assert (network.labels, network.frames, network.height) == (LABELS, 4, 8)
    assert fetch(entry) == folder
    assert len(server.requests) == 1


@pytest.mark.parametrize("top", ["Action-ResNet18/", "./Action-ResNet18/", "", "./", "a/b/"])
def test_the_files_may_lie_in_a_folder_of_the_archive_or_not(
    top: str, entry: CatalogueEntry, server: Server, tmp_path: Path, networks: Path
) -> None:
    server.content = resnet_18_archive(tmp_path / "n", LABELS, top)
    fetch(entry)
    assert prepare(resolve(REQUEST)).labels == LABELS
    assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]


def test_a_model_that_changes_on_the_disk_is_noticed_when_it_is_loaded(entry: CatalogueEntry) -> None:
    model = fetch(entry) / MODEL
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(NetworkError, match=r"is not the one that its network.yaml describes"):
        prepare(resolve(REQUEST))


def test_the_first_archive_counts_ever_after(
    entry: CatalogueEntry, server: Server, archive: bytes, networks: Path, tmp_path: Path
) -> None:
    folder = fetch(entry)
    first = hashlib.sha256(archive).hexdigest()
    assert entry.archive is not None
    assert pin_of(entry.archive).read_text() == f"{first}  {FILE}\n"
    server.content = resnet_18_archive(tmp_path / "n", ("other", "labels"))
    second = hashlib.sha256(server.content).hexdigest()
    message = refused(entry, again=True)
    for part in (first, second, f"remove {pin_of(entry.archive)} and fetch it again"):
        assert part in message
    assert (folder / "labels.txt").read_text().split() == list(LABELS), "the one that is here stays"
    assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]
    pin_of(entry.archive).unlink()
    fetch(entry, again=True)
    assert (folder / "labels.txt").read_text().split() == ["other", "labels"]
    assert pin_of(entry.archive).read_text().startswith(second)


def test_the_pin_outlives_the_folder(entry: CatalogueEntry, server: Server, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(fetch(entry))
    assert fetch(entry).is_dir(), "the same again is welcome"
    shutil.rmtree(fetch(entry))
    server.content = resnet_18_archive(tmp_path / "n", ("other", "labels"))
    assert "is not the Action-ResNet18.tar.gz that came first" in refused(entry)


def test_the_catalogues_checksum_counts_more_than_the_pin(
    entry: CatalogueEntry, server: Server, archive: bytes, tmp_path: Path
) -> None:
    fetch(entry)
    right = hashlib.sha256(archive).hexdigest()
    assert entry.archive is not None
    pin_of(entry.archive).write_text("0" * 64)
    assert fetch(at(entry.archive.url, right.upper()), again=True).is_dir()
    message = refused(at(entry.archive.url, "1" * 64), again=True)
    assert f"its sha256 is {right}, not {'1' * 64}" in message


def test_a_part_of_another_file_heals(entry: CatalogueEntry, server: Server, networks: Path) -> None:
    networks.mkdir(parents=True)
    part = networks / f"{FILE}.part"
    part.write_bytes(b"\x1f\x8b of a file that was there before" + bytes(200))
    assert prepare(resolve_fetched(entry)).labels == LABELS
    assert [bool(asked) for _, asked in server.requests] == [True, False]
    assert not part.exists()


def resolve_fetched(entry: CatalogueEntry) -> Any:
    fetch(entry)
    return resolve(REQUEST)


def test_a_cut_download_goes_on_in_the_next_process(entry: CatalogueEntry, server: Server, networks: Path) -> None:
    server.content = archive_of({MODEL: os.urandom(100_000), "labels.txt": b"a\n"})
    for _ in range(10):
        server.cut(0)
    server.answers[0] = lambda handler: server.serve(handler, cut_after=50_000)
    refused(entry)
    part = networks / f"{FILE}.part"
    kept = part.stat().st_size
    assert 40_000 < kept <= 50_000
    assert left_in(networks) == [part.name]
    server.answers.clear()
    fetch(entry)
    assert server.requests[-1][1] == f"bytes={kept}-"
    assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Please log in</html>", "is a web page, not an archive; is there a login"),
        (archive_of({"../../evil": b"x", MODEL: b"x", "labels.txt": b"x"}), "leads out of the folder"),
        (archive_of({MODEL: b"x"}), f"does not hold {MODEL} and labels.txt; it holds {MODEL}"),
        (archive_of({f"a/{MODEL}": b"x", "labels.txt": b"x"}), "does not hold"),
        (archive_of({}), "it holds nothing"),
        (archive_of({MODEL: bytes(1000), "labels.txt": b"x"})[:-30], "damaged or incomplete"),
    ],
)
def test_what_is_no_network_leaves_nothing(
    content: bytes, message: str, entry: CatalogueEntry, server: Server, networks: Path
) -> None:
    server.content = content
    assert message in refused(entry)
    assert left_in(networks) == []
    with pytest.raises(NetworkNotFetched):
        resolve(REQUEST)


def test_a_network_yaml_of_the_archive_is_kept(entry: CatalogueEntry, server: Server) -> None:
    server.content = archive_of({MODEL: b"\x08", "labels.txt": b"x", "network.yaml": f"model: {MODEL}\n".encode()})
    assert (fetch(entry) / "network.yaml").read_text() == f"model: {MODEL}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("labels: /etc/hostname", "names the file '/etc/hostname', which is not in"),
        ("labels: ../../secret", "names the file '../../secret', which is not in"),
        ("labels: a/labels.txt", "names files that are not beside it"),
    ],
)
def test_a_network_yaml_of_the_archive_that_looks_elsewhere_is_refused(
    line: str, message: str, entry: CatalogueEntry, server: Server, networks: Path
) -> None:
    networks.parent.mkdir()
    (networks.parent / "secret").write_text("a\n")
    files = {
        MODEL: b"\x08",
        "labels.txt": b"x",
        "a/labels.txt": b"x",
        "network.yaml": f"model: {MODEL}\n{line}".encode(),
    }
    server.content = archive_of(files)
    assert message in refused(entry)
    assert left_in(networks) == []


def test_what_a_killed_process_left_is_cleared_away(entry: CatalogueEntry, networks: Path) -> None:
    (networks / ".resnet-18.new").mkdir(parents=True)
    (networks / ".resnet-18.new" / MODEL).write_text("half")
    fetch(entry)
    assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]


def test_a_folder_of_the_users_is_not_replaced(entry: CatalogueEntry, server: Server, networks: Path) -> None:
    folder = networks / "resnet-18"
    folder.mkdir(parents=True)
    (folder / "labels.txt").write_text("mine\n")
    assert f"{folder} is there, but without {MODEL}" in refused(entry)
    assert server.requests == []
    (folder / "labels.txt").unlink()
    assert fetch(entry) == folder


class TestMirrors:
    def test_a_url(self, server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", f"{server.url}/mirror/")
        fetch(Catalogue.load().find("resnet18"))
        assert server.requests == [(f"/mirror/{FILE}", "")]

    def test_a_folder(self, archive: bytes, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("ACTIONNET_MIRROR", "~/mirror")
        (tmp_path / "mirror").mkdir()
        file = tmp_path / "mirror" / FILE
        entry = Catalogue.load().find("resnet18")
        message = refused(entry)
        assert f"ACTIONNET_MIRROR names the folder ~/mirror, which has no {FILE}" in message
        assert "https://nvidia.box.com/shared/static/rhuvudgijtefzno55092fgwy0xn485n0.gz" in message
        file.write_bytes(archive)
        fetch(entry)
        assert file.read_bytes() == archive, "it is the user's"
        assert prepare(resolve(REQUEST)).labels == LABELS
        assert left_in(networks) == [f"{FILE}.sha256", "resnet-18"]

    def test_an_archive_in_the_users_folder(self, archive: bytes, networks: Path) -> None:
        networks.mkdir(parents=True)
        (networks / FILE).write_bytes(archive)
        fetch(Catalogue.load().find("resnet18"))
        assert left_in(networks) == [FILE, f"{FILE}.sha256", "resnet-18"]
        done = subprocess.run(["sha256sum", "-c", f"{FILE}.sha256"], cwd=networks, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_a_file_that_is_not_in_the_mirror(
        self, server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", server.url.replace("//", "//me:secret@"))
        server.say(404)
        message = refused(Catalogue.load().find("resnet18"))
        assert f"{server.url.replace('//', '//***@')}/{FILE}: the server answers 404" in message
        assert "secret" not in message

    def test_what_cannot_be_one(self, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", "ftp://me:secret@host/x")
        message = refused(Catalogue.load().find("resnet18"))
        assert "ACTIONNET_MIRROR is ftp://***@host/x; it must be a folder, or begin with http:// or https://" in message


def test_without_a_connection_the_error_says_what_to_put_where(networks: Path) -> None:
    message = refused(at("http://127.0.0.1:1/static/abc.gz"))
    for part in (
        "resnet-18 cannot be downloaded. http://127.0.0.1:1/static/abc.gz: no connection (Connection refused)",
        f"put {FILE} (from http://127.0.0.1:1/static/abc.gz) into {networks}",
        "ACTIONNET_MIRROR",
        f"put {MODEL} and labels.txt into {networks / 'resnet-18'}",
        "set `model` and `labels`",
        "`network:=camera_motion`, which comes with the package",
    ):
        assert part in message


def test_a_folder_that_cannot_be_written(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACTIONNET_NETWORKS", str(tmp_path / "file" / "networks"))
    message = refused(at(server.url))
    assert f"resnet-18 cannot be kept in {tmp_path / 'file' / 'networks'}: " in message
    assert "Set ACTIONNET_NETWORKS to a folder that can be written" in message


def test_a_disk_that_fills_up(entry: CatalogueEntry, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        message = refused(entry)
    assert "the disk is full" in message
    assert "Free some of it, or set ACTIONNET_NETWORKS" in message
    assert left_in(networks) == []
    assert fetch(entry).is_dir()


def test_a_network_without_an_archive(networks: Path) -> None:
    entry = CatalogueEntry("mine", folder="mine")
    assert "there is nothing to download" in refused(entry)


@pytest.mark.parametrize("word", ["downloading", "unpacking"])
def test_a_fetch_can_be_cancelled(word: str, entry: CatalogueEntry, networks: Path) -> None:
    monitor = Recorder()
    monitor.until = lambda: any(word in what for what in monitor.said)
    with pytest.raises(LoadCancelled, match="resnet-18"):
        fetch(entry, monitor)
    assert [name for name in left_in(networks) if not name.endswith(".part")] == []
    assert fetch(entry).is_dir()


FETCH = """
from ros2_actionnet.networks import Catalogue, fetch
print(fetch(Catalogue.load().find("resnet18")))
"""


def test_of_two_processes_one_downloads_and_the_other_waits(
    server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIONNET_MIRROR", server.url)
    begun, both = threading.Event(), threading.Event()

    def slowly(handler: Any) -> None:
        send(handler, 200, server.content, server.content[:100])
        handler.wfile.flush()
        begun.set()
        both.wait(60)
        handler.wfile.write(server.content[100:])

    server.answers.append(slowly)
    with subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, text=True) as other:
        assert begun.wait(60)
        monitor = Recorder()

        def watch() -> bool:
            if any("waiting" in what for what in monitor.said):
                both.set()
            return False

        monitor.until = watch
        folder = fetch(Catalogue.load().find("resnet18"), monitor)
        assert other.communicate(timeout=60)[0].strip() == str(folder)
    assert monitor.said == ["waiting for another process, which fetches resnet-18"]
    assert len(server.requests) == 1


def test_waiting_for_another_process_can_be_cancelled(entry: CatalogueEntry, networks: Path) -> None:
    import fcntl

    networks.mkdir(parents=True)
    with (networks / ".resnet-18.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monitor = Recorder()
        monitor.until = lambda: bool(monitor.said)
        with pytest.raises(LoadCancelled):
            fetch(entry, monitor)


class TestRequests:
    def test_what_is_to_be_downloaded_is_all_right_and_nothing_is_downloaded_for_it(
        self, server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", server.url)
        check_request(REQUEST)
        with pytest.raises(NetworkNotFetched):
            resolve(REQUEST)
        assert server.requests == []
        assert not networks.exists()

    def test_what_is_wrong_is_wrong(self, networks: Path, tmp_path: Path) -> None:
        with pytest.raises(NetworkError, match="no network is called 'resnet99'"):
            check_request(NetworkRequest("resnet99"))
        with pytest.raises(NetworkError, match="does not exist"):
            check_request(NetworkRequest("resnet18", labels=str(tmp_path / "no.txt")))

    def test_obtain_downloads_what_is_not_here_and_only_that(
        self, server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", server.url)
        assert obtain(NetworkRequest("camera_motion")).name == "camera_motion"
        assert server.requests == []
        first = obtain(REQUEST)
        assert first.model == networks / "resnet-18" / MODEL
        assert obtain(REQUEST) == first
        assert len(server.requests) == 1

    def test_the_python_class_downloads_its_network(
        self, server: Server, networks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACTIONNET_MIRROR", server.url)
        with ActionNet("resnet-18", skip_frames=0) as net:
            for grey in (230, 230, 230, 230):
                prediction = net.classify(np.full((20, 30, 3), grey, np.uint8))
        assert prediction is not None
        assert prediction.label == "bright"


def test_the_resolving_of_what_is_here_needs_no_requests(networks: Path) -> None:
    program = (
        "import sys\n"
        "from ros2_actionnet.networks import NetworkRequest, obtain\n"
        "obtain(NetworkRequest('camera_motion'))\n"
        "print(*{'requests', 'tqdm'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
