"""The networks available by name: those of config/networks.yaml, and the user's own."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.networks.yaml_file import read_yaml
from ros2_actionnet.system.paths import user_path
from ros2_actionnet.system.resources import shared_folder
from ros2_actionnet.system.text import printable


@dataclass(frozen=True)
class Archive:
    """The published file with a network: a .tar.gz with its files, or weights that have to be converted.

    Attributes:
        url: its address.
        file: its name.
        sha256: its SHA-256 in hex, or the first digits of it; "" until it is known.
        torchvision: name of the weights in torchvision, for a .pth file of these; "" for a .tar.gz.
    """

    url: str
    file: str
    sha256: str = ""
    torchvision: str = ""


@dataclass(frozen=True)
class CatalogueEntry:
    """One network of the catalogue.

    Attributes:
        name: the name that is displayed and logged.
        aliases: other names of the same network.
        description: one line for display.
        folder: name of its folder in each of the locations of networks.
        model: name of the .onnx file in that folder.
        labels: name of the label file in that folder; "" = its labels.txt, if it has one.
        input_blob: name of the model's input; "" = read from the model.
        output_blob: name of the model's output; "" = read from the model.
        archive: the archive to download; None if the network comes with the package.
        own: True if the user has added the network.
    """

    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    folder: str = ""
    model: str = "model.onnx"
    labels: str = "labels.txt"
    input_blob: str = ""
    output_blob: str = ""
    archive: Archive | None = None
    own: bool = False


@dataclass(frozen=True)
class Catalogue:
    """The known networks, in display order."""

    entries: tuple[CatalogueEntry, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Catalogue:
        """Load the catalogue that comes with the package, with the user's own networks; or the one at `path`.

        Raises:
            NetworkError: the file is missing or malformed, or two networks share a name.
        """
        file = path
        try:
            file = path or shared_folder("config") / "networks.yaml"
            content = read_yaml(file)
            entries = tuple(_entry(str(name), fields) for name, fields in content["networks"].items())
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NetworkError(f"the catalogue of networks {file or ''} cannot be read: {printable(error)}") from error
        return cls(entries if path else (*entries, *_users_own(entries)))

    def __post_init__(self) -> None:
        """Reject a catalogue in which a name or alias is used by two networks."""
        seen: set[str] = set()
        for name in (name for entry in self.entries for name in _spellings(entry)):
            if name in seen:
                raise NetworkError(f"the catalogue of networks uses the name '{name}' twice")
            seen.add(name)

    def __iter__(self) -> Iterator[CatalogueEntry]:
        """Iterate over the networks, in order."""
        return iter(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the networks, without aliases."""
        return tuple(entry.name for entry in self.entries)

    @cached_property
    def _by_name(self) -> dict[str, CatalogueEntry]:
        return {name: entry for entry in self.entries for name in _spellings(entry)}

    def has(self, name: str) -> bool:
        """Return True if `name` is the name or alias of a network (case-insensitive)."""
        return name.strip().lower() in self._by_name

    def find(self, name: str) -> CatalogueEntry:
        """Return the network whose name or alias is `name` (case-insensitive).

        Raises:
            NetworkError: there is none. The message lists the known networks and the closest name.
        """
        entry = self._by_name.get(name.strip().lower())
        if entry is not None:
            return entry
        if name.strip().endswith(".onnx") or "/" in name:
            hint = " To use a file or folder of your own, set `model` to its path."
        else:
            close = difflib.get_close_matches(name.strip().lower()[:100], self._by_name, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
        raise NetworkError(f"no network is called '{printable(name)}'.{hint} Known networks: {_listing(self.entries)}")


def user_folder() -> Path:
    """Return the folder of the user's networks: $ACTIONNET_NETWORKS, otherwise ~/.cache/ros2_actionnet/networks.

    Raises NetworkError if it begins with a home folder that does not exist.
    """
    folder = user_path(os.environ.get("ACTIONNET_NETWORKS") or "~/.cache/ros2_actionnet/networks")
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise NetworkError(
            f"the home folder of {printable(folder)} is not known; set ACTIONNET_NETWORKS to a folder for networks"
        )
    return folder


def network_folders() -> tuple[Path, ...]:
    """Return the folders that contain network folders, in search order: the package's, then the user's."""
    folders = []
    with suppress(FileNotFoundError):
        folders.append(shared_folder("networks"))
    with suppress(NetworkError):
        folders.append(user_folder())
    return tuple(folders)


def _users_own(known: tuple[CatalogueEntry, ...]) -> Iterator[CatalogueEntry]:
    """Yield the networks in the user's folder that are not in `known`: folders with a network.yaml."""
    taken = {name for entry in known for name in (*_spellings(entry), entry.folder.lower())}
    descriptions: list[Path] = []
    with suppress(NetworkError, OSError, ValueError):  # no such home, or a folder that may not be read
        descriptions = sorted(user_folder().glob("*/network.yaml"))
    for description in descriptions:
        name = description.parent.name
        if name.lower() not in taken and not name.startswith("."):
            taken.add(name.lower())
            yield CatalogueEntry(name, folder=name, labels="", description="your own", own=True)


def _entry(name: str, fields: dict[str, Any]) -> CatalogueEntry:
    fields = {"folder": name, **fields}
    aliases = tuple(str(alias) for alias in fields.pop("aliases", ()))
    archive = fields.pop("archive", None)
    return CatalogueEntry(name=name, aliases=aliases, archive=Archive(**archive) if archive else None, **fields)


def _spellings(entry: CatalogueEntry) -> tuple[str, ...]:
    return tuple(name.lower() for name in (entry.name, *entry.aliases))


def _listing(entries: Iterable[CatalogueEntry]) -> str:
    return "; ".join(f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name for entry in entries)
