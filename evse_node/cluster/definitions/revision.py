"""Revisions of the specification: each a folder of cluster definitions.

A folder holds `revision.toml` beside its XML files. With a `base`, the files of that
revision are used, too, except those that the folder replaces.

Spec: Matter Core 1.3 "SpecificationVersion Attribute", "DataModelRevision Attribute"
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from evse_node.config.reading import load_toml
from evse_node.errors import ConfigError

XML_FOLDER: Final = Path(__file__).parent / "xml"
DEFAULT_REVISION: Final = "1.3"
_MANIFEST: Final = "revision.toml"
_BASE: Final = "the name of an earlier revision"


class _Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    specification_version: int
    data_model_revision: int
    interaction_model_revision: int
    base: Annotated[str | None, Meta(description=_BASE)] = None


class Revision(Struct, frozen=True):
    """A revision ("1.4.2") and the version numbers that its nodes report.

    `folders` hold its definitions: its own folder first, then that of its base.
    """

    name: str
    folders: tuple[Path, ...]
    specification_version: int
    data_model_revision: int
    interaction_model_revision: int


def revision_names() -> list[str]:
    """Return the names of the supported revisions."""
    return sorted(file.parent.name for file in XML_FOLDER.glob(f"*/{_MANIFEST}"))


@cache
def load_revision(name: str = DEFAULT_REVISION) -> Revision:
    """Return a supported revision. Raises ConfigError for another name."""
    names = revision_names()
    if name not in names:
        raise ConfigError(f"no Matter version {name!r}: give one of {', '.join(names)}")
    return read_revision(XML_FOLDER / name)


def read_revision(folder: Path, derived: tuple[Path, ...] = ()) -> Revision:
    """Read the revision in a folder, and its base from beside it. Raises ConfigError.

    `derived` are the folders that have this one as their base.
    """
    file = folder / _MANIFEST
    manifest = load_toml(file, _Manifest)
    folders: tuple[Path, ...] = (folder,)
    if manifest.base is not None:
        base = folder.parent / manifest.base
        if base in (folder, *derived):
            raise ConfigError(f"{file}: base: {manifest.base!r} cannot be used: give {_BASE}")
        folders += read_revision(base, (folder, *derived)).folders
    return Revision(
        folder.name,
        folders,
        manifest.specification_version,
        manifest.data_model_revision,
        manifest.interaction_model_revision,
    )
