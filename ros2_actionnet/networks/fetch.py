"""Fetches a network of the catalogue from its server, from a mirror, or from an archive on this machine."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

from ros2_actionnet.errors import NetworkError, NetworkNotFetched
from ros2_actionnet.load_monitor import UNMONITORED, LoadMonitor, LoadWatch
from ros2_actionnet.networks.blob_names import check_blobs
from ros2_actionnet.networks.catalogue import Archive, Catalogue, CatalogueEntry, user_folder
from ros2_actionnet.networks.download import Progress, download
from ros2_actionnet.networks.published_weights import check_converter, convert
from ros2_actionnet.networks.resolve import as_meant, find_folder, manual_install_hint, resolve
from ros2_actionnet.networks.spec import NetworkRequest, NetworkSpec
from ros2_actionnet.networks.unpack import unpack
from ros2_actionnet.system.addresses import without_password
from ros2_actionnet.system.files import file_lock, replace_folder, scratch_folder, sha256_of, write_atomically
from ros2_actionnet.system.paths import user_path
from ros2_actionnet.system.text import printable

MIRROR = "ACTIONNET_MIRROR"
"""Environment variable: a folder that contains the archives under their names, or the URL of one."""


def check_request(request: NetworkRequest) -> None:
    """Reject, within milliseconds, a request that cannot succeed. Networks that still need a download are accepted.

    Raises NetworkError as `resolve` does, and for an input or output that the model has not.
    """
    with suppress(NetworkNotFetched):
        check_blobs(resolve(request))


def obtain(request: NetworkRequest, monitor: LoadMonitor = UNMONITORED) -> NetworkSpec:
    """Return the result of `resolve`, after downloading the network if it is not on this machine yet.

    Raises as `resolve` and `fetch` do.
    """
    request = as_meant(request)
    with suppress(NetworkNotFetched):
        return resolve(request)
    fetch(Catalogue.load().find(request.network), monitor)
    return resolve(request)


def fetch(entry: CatalogueEntry, monitor: LoadMonitor = UNMONITORED, *, again: bool = False) -> Path:
    """Make sure that a network of the catalogue is on this machine and return its folder.

    An existing folder is left as it is unless `again` is set, which replaces it. An archive's SHA-256 must be that in
    the catalogue; if that has none, the checksum of the first download is pinned (see `pin_of`). An incomplete folder
    never has the network's name, and of several processes one downloads while the others wait.

    Args:
        entry: the network.
        monitor: receives the progress and can cancel.
        again: fetch the network even if it is already there.

    Raises:
        NetworkError: the network is unavailable, is not what it should be, or cannot be written. The message explains
            which file to put where by hand.
        LoadCancelled: `monitor` cancelled the load.
    """
    folder = find_folder(entry)
    if folder is not None and not again:
        return folder
    if entry.archive is None:
        raise NetworkError(f"{entry.name} comes with the package or is your own: there is nothing to download")
    target = user_folder() / entry.folder
    if folder is None and target.is_dir() and any(target.iterdir()):
        raise NetworkError(
            f"{target} is there, but without {entry.model}: put that into it, or remove the folder to download it"
        )
    if entry.archive.torchvision:
        check_converter(entry.name, target)
    progress = Progress(entry.name, monitor)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        watch = LoadWatch(monitor, entry.name, lambda _: f"waiting for another process, which fetches {entry.name}", 0)
        with file_lock(target.with_name(f".{entry.folder}.lock"), watch):
            if again or find_folder(entry) is None:
                _fetch(entry, entry.archive, target, progress)
        return find_folder(entry) or target
    except OSError as error:
        raise NetworkError(f"{entry.name} cannot be kept in {target.parent}: {_remedy(error)}") from error


def pin_of(archive: Archive) -> Path:
    """Return the file with the SHA-256 of an archive's first download, in the format of sha256sum."""
    return user_folder() / f"{archive.file}.sha256"


def _fetch(entry: CatalogueEntry, archive: Archive, target: Path, progress: Progress) -> None:
    try:
        local = _local(archive)
        url = _url(archive)
    except NetworkError as error:
        raise NetworkError(f"{entry.name} is not here: {error}. {manual_install_hint(entry)}") from None
    if local is not None:
        _install(entry, archive, local, target, progress)
        return
    part = target.parent / f"{archive.file}.part"
    went_on = part.is_file()
    while True:
        try:
            download(url, part, progress)
        except NetworkError as error:
            raise NetworkError(f"{entry.name} cannot be downloaded. {error}. {manual_install_hint(entry)}") from error
        try:
            _install(entry, archive, part, target, progress)
            return
        except NetworkError as error:
            if not went_on:
                raise NetworkError(f"{entry.name} from {printable(without_password(url))}: {error}") from error
            # The partial download and the resumed part may be from two different files: download it in one go.
            went_on = False
        finally:
            part.unlink()


def _local(archive: Archive) -> Path | None:
    """Return the archive if it is in the user's folder, or if the mirror is a folder; otherwise None."""
    if (user_folder() / archive.file).is_file():
        return user_folder() / archive.file
    mirror = os.environ.get(MIRROR, "")
    if not mirror or "://" in mirror:
        return None
    file = user_path(mirror) / archive.file
    if not file.is_file():
        raise NetworkError(f"{MIRROR} names the folder {printable(mirror)}, which has no {archive.file}")
    return file


def _url(archive: Archive) -> str:
    mirror = os.environ.get(MIRROR, "")
    if "://" in mirror and not mirror.startswith(("http://", "https://")):
        raise NetworkError(
            f"{MIRROR} is {printable(without_password(mirror))}; it must be a folder, or begin with http:// or https://"
        )
    return f"{mirror.rstrip('/')}/{archive.file}" if mirror else archive.url


def _install(entry: CatalogueEntry, archive: Archive, file: Path, target: Path, progress: Progress) -> None:
    """Create the network's folder from the archive `file`."""
    if not archive.torchvision:
        progress.say(f"unpacking {entry.name}")
    digest = sha256_of(file)
    _check_digest(archive, file, digest)
    with scratch_folder(target) as scratch:
        if archive.torchvision:
            convert(entry.name, archive.torchvision, file, scratch, progress)
        else:
            unpack(file, scratch, progress.check)
        folder = _network_in(scratch, entry, archive)
        _describe(folder, entry, archive, digest)
        _pin(archive, digest)
        replace_folder(target, folder)


def _check_digest(archive: Archive, file: Path, digest: str) -> None:
    """Reject an archive whose checksum is not the catalogue's or, if that has none, not that of the first download."""
    pin = pin_of(archive)
    pinned = pin.read_text().split()[:1] if pin.is_file() else []
    expected = archive.sha256.lower()
    if not digest.startswith(expected):
        raise NetworkError(
            f"{file} is not the {archive.file} of the catalogue: its sha256 is {digest}, not {expected}"
            f"{'...' if len(expected) < len(digest) else ''}. It is damaged or another file: get it again"
        )
    if len(expected) < len(digest) and pinned and digest != pinned[0]:
        raise NetworkError(
            f"{file} is not the {archive.file} that came first: its sha256 is {digest}, then it was "
            f"{printable(pinned[0], 64)}. If it was published anew, and you trust it, remove {pin} and fetch it again"
        )


def _pin(archive: Archive, digest: str) -> None:
    write_atomically(pin_of(archive), f"{digest}  {archive.file}\n".encode())


def _network_in(folder: Path, entry: CatalogueEntry, archive: Archive) -> Path:
    """Return the folder with the network's files: an archive may have them at the top or in a folder of any name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for model in files:
        if model.name == entry.model and (model.parent / entry.labels).is_file():
            return model.parent
    listing = ", ".join(str(path.relative_to(folder)) for path in files) or "nothing"
    raise NetworkError(f"{archive.file} does not hold {entry.model} and {entry.labels}; it holds {printable(listing)}")


def _describe(folder: Path, entry: CatalogueEntry, archive: Archive, digest: str) -> None:
    """Write a network.yaml, unless the archive has one; values that it omits come from the catalogue."""
    if (folder / "network.yaml").exists():
        spec = resolve(NetworkRequest(model=str(folder)))
        if any(file is not None and file.parent != folder for file in (spec.model, spec.labels)):
            raise NetworkError(f"the network.yaml of {archive.file} names files that are not beside it")
        return
    (folder / "network.yaml").write_text(
        f"# Written by ros2_actionnet when it unpacked {archive.file}.\n"
        f"model: {json.dumps(entry.model)}\n"
        f"labels: {json.dumps(entry.labels)}\n"
        f'sha256: "{sha256_of(folder / entry.model)}"  # of the model; checked each time it is loaded\n'
        f"source: {json.dumps(f'{archive.file} from {archive.url}, sha256 {digest}')}\n"
    )


def _remedy(error: OSError) -> str:
    reason = printable(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({reason}). Free some of it, or set ACTIONNET_NETWORKS to a folder elsewhere"
    return f"{reason}. Set ACTIONNET_NETWORKS to a folder that can be written"
