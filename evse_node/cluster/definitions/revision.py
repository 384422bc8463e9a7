"""Revisions of the specification: each a folder with cluster definitions.

A folder holds `revision.toml` beside its XML files. It may name another revision as
`base`: then the files of that one count, too, except those that the folder has itself.

Spec: Matter Core 1.3 "SpecificationVersion Attribute", "DataModelRevision Attribute"
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from evse_node.config.reading import read_toml
from evse_node.errors import ConfigError

XML_FOLDER: Final = Path(__file__).parent / "xml"
DEFAULT_REVISION: Final = "1.3"
_MANIFEST: Final = "revision.toml"
_NUMBERS: Final = ("specification_version", "data_model_revision", "interaction_model_revision")


class Revision(Struct, frozen=True):
    """A revision by its name ("1.4.2"), and what a node of it says of itself.

    `folders` hold its definitions: its own folder first, then that of its base.
    """

    name: str
    folders: tuple[Path, ...]
    specification_version: int
    data_model_revision: int
    interaction_model_revision: int


def revision_names() -> list[str]:
    """Return the names of the revisions that a node can be of."""
    return sorted(file.parent.name for file in XML_FOLDER.glob(f"*/{_MANIFEST}"))


@cache
def load_revision(name: str = DEFAULT_REVISION) -> Revision:
    """Return a revision. Raises ConfigError for a name that none has."""
    names = revision_names()
    if name not in names:
        raise ConfigError(f"no Matter version {name!r}: give one of {', '.join(names)}")
    return read_revision(XML_FOLDER / name)


def read_revision(folder: Path, above: tuple[Path, ...] = ()) -> Revision:
    """Return the revision in a folder; its base is beside it. Raises ConfigError.

    `above` are the folders that are based on this one.
    """
    file = folder / _MANIFEST
    manifest = read_toml(file)
    if unknown := sorted(manifest.keys() - {"base", *_NUMBERS}):
        raise ConfigError(f"{file}: {unknown[0]}: unknown key")
    base = manifest.get("base")
    folders: tuple[Path, ...] = (folder,)
    if base is not None:
        if not isinstance(base, str) or folder.parent / base in (folder, *above):
            raise ConfigError(f"{file}: base {base!r} is not the name of an earlier revision")
        folders += read_revision(folder.parent / base, (folder, *above)).folders
    return Revision(folder.name, folders, *(_number(manifest, key, file) for key in _NUMBERS))


def _number(manifest: Mapping[str, object], key: str, file: Path) -> int:
    value = manifest.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{file}: {key} is not a number")
    return value
