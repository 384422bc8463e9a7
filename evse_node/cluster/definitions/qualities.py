"""The overlay: facts on attributes and commands that ZAP XML has no place for.

`xml/qualities.toml` names them by cluster. Names that a definition lacks are passed
over, so that one overlay serves several revisions; a revision's folder may have a
`qualities.toml` of its own with what differs there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct, field

from evse_node.config.reading import read_toml
from evse_node.errors import ConfigError

_LISTS = (
    "nonvolatile",
    "fixed",
    "quieter",
    "changes_omitted",
    "fabric_sensitive",
    "fabric_scoped_commands",
)
_TABLES = ("conformance", "server_checks")


class Qualities(Struct, frozen=True):
    """What the overlay says of one cluster.

    `conformance` (short notation by element name) counts where the XML says no more than
    that the element is optional. `server_checks` are paths of command fields, by command,
    whose constraint the cluster's server checks itself.
    """

    nonvolatile: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()
    quieter: frozenset[str] = frozenset()
    changes_omitted: frozenset[str] = frozenset()
    fabric_sensitive: frozenset[str] = frozenset()
    fabric_scoped_commands: frozenset[str] = frozenset()
    conformance: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    server_checks: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: MappingProxyType({})
    )


NO_QUALITIES = Qualities()


@cache
def read_qualities(*files: Path) -> Mapping[str, Qualities]:
    """Read an overlay from files; what a later one says goes before what an earlier one said.

    Raises ConfigError for what is not an overlay.
    """
    overlay: dict[str, Qualities] = {}
    for file in files:
        for cluster, table in read_toml(file).items():
            before = overlay.get(cluster, NO_QUALITIES)
            overlay[cluster] = _qualities(table, before, f"{file}: [{cluster}]")
    return MappingProxyType(overlay)


def _qualities(table: object, before: Qualities, where: str) -> Qualities:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table")
    if unknown := sorted(table.keys() - {*_LISTS, *_TABLES}):
        raise ConfigError(
            f"{where} {unknown[0]}: unknown key; known are {', '.join((*_LISTS, *_TABLES))}"
        )
    checks = before.server_checks
    if fields := _table(table, "server_checks", where):
        checks = MappingProxyType(
            {name: _names(fields[name], f"{where} server_checks of {name}") for name in fields}
        )
    conformance = before.conformance
    if texts := _table(table, "conformance", where):
        conformance = _conformance(texts, where)

    def names(key: str, else_names: frozenset[str]) -> frozenset[str]:
        return _names(table[key], f"{where} {key}") if key in table else else_names

    return Qualities(
        nonvolatile=names("nonvolatile", before.nonvolatile),
        fixed=names("fixed", before.fixed),
        quieter=names("quieter", before.quieter),
        changes_omitted=names("changes_omitted", before.changes_omitted),
        fabric_sensitive=names("fabric_sensitive", before.fabric_sensitive),
        fabric_scoped_commands=names("fabric_scoped_commands", before.fabric_scoped_commands),
        conformance=conformance,
        server_checks=checks,
    )


def _table(table: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
    entries = table.get(key, {})
    if not isinstance(entries, dict):
        raise ConfigError(f"{where} {key} is not a table")
    return entries


def _conformance(entries: Mapping[str, object], where: str) -> Mapping[str, str]:
    conformance: dict[str, str] = {}
    for name, text in entries.items():
        if not isinstance(text, str):
            raise ConfigError(f"{where} conformance of {name} is not a string")
        conformance[name] = text
    return MappingProxyType(conformance)


def _names(value: object, where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where} is not a list of names")
    return frozenset(value)
