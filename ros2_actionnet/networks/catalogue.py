"""The networks that can be asked for by name: config/networks.yaml."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ros2_actionnet.errors import NetworkError
from ros2_actionnet.resources import shared_folder

# PyYAML's own parser takes 10 ms for the catalogue, libyaml's 1 ms; not every build of PyYAML has libyaml.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Archive:
    """Where a network is published: a .tar.gz with its files. `sha256` is "" until it is known."""

    url: str
    file: str
    sha256: str = ""


@dataclass(frozen=True)
class CatalogueEntry:
    """One network of the catalogue.

    Attributes:
        name: the name that is shown and logged.
        aliases: other names that mean the same network.
        description: one line for a person.
        folder: name of its folder in each of the places where networks are kept.
        model: name of the .onnx file in that folder.
        labels: name of the label file in that folder.
        input_blob: name of the model's input; "" = read from the model.
        output_blob: name of the model's output; "" = read from the model.
        archive: where it can be had; None where it comes with the package.
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


@dataclass(frozen=True)
class Catalogue:
    """The known networks, in the order in which they are listed."""

    entries: tuple[CatalogueEntry, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Catalogue:
        """Read the catalogue that comes with the package, or the one at `path`.

        Raises:
            NetworkError: the file is missing or malformed, or two networks share a name.
        """
        try:
            path = path or shared_folder("config") / "networks.yaml"
            content = yaml.load(path.read_bytes(), Loader=YAML_LOADER)
            return cls(tuple(_entry(name, fields) for name, fields in content["networks"].items()))
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise NetworkError(f"the catalogue of networks {path or ''} cannot be read: {error}") from error

    def __post_init__(self) -> None:
        """Refuse a catalogue in which a name or alias means two networks."""
        seen: set[str] = set()
        for name in (name for entry in self.entries for name in _spellings(entry)):
            if name in seen:
                raise NetworkError(f"the catalogue of networks uses the name '{name}' twice")
            seen.add(name)

    def __iter__(self) -> Iterator[CatalogueEntry]:
        """Every network, in order."""
        return iter(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The networks' names, without aliases."""
        return tuple(entry.name for entry in self.entries)

    @cached_property
    def _by_name(self) -> dict[str, CatalogueEntry]:
        return {name: entry for entry in self.entries for name in _spellings(entry)}

    def find(self, name: str) -> CatalogueEntry:
        """The network called `name` (or that has it as an alias; upper and lower case are the same).

        Raises:
            NetworkError: there is none. The message lists the known networks and the closest name.
        """
        entry = self._by_name.get(name.strip().lower())
        if entry is not None:
            return entry
        if name.strip().endswith(".onnx") or "/" in name:
            hint = " To use a file or folder of your own, set `model` to its path."
        else:
            close = difflib.get_close_matches(name.strip().lower(), self._by_name, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
        raise NetworkError(f"no network is called '{name}'.{hint} Known networks: {_listing(self.entries)}")


def network_folders() -> tuple[Path, ...]:
    """The folders that hold network folders, in the order of searching: the package's, then the user's."""
    user = os.environ.get("ACTIONNET_NETWORKS")
    users = Path(user).expanduser() if user else Path("~/.cache/ros2_actionnet/networks").expanduser()
    try:
        return shared_folder("networks"), users
    except FileNotFoundError:
        return (users,)


def _entry(name: str, fields: dict[str, Any]) -> CatalogueEntry:
    fields = {"folder": name, **fields}
    aliases = tuple(fields.pop("aliases", ()))
    archive = fields.pop("archive", None)
    return CatalogueEntry(name=name, aliases=aliases, archive=Archive(**archive) if archive else None, **fields)


def _spellings(entry: CatalogueEntry) -> tuple[str, ...]:
    return tuple(name.lower() for name in (entry.name, *entry.aliases))


def _listing(entries: Iterable[CatalogueEntry]) -> str:
    return "; ".join(f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name for entry in entries)
