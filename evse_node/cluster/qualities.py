"""The overlay: facts on attributes and commands that ZAP XML has no place for.

`xml/qualities.toml` names them by cluster. Names that a definition lacks are passed
over, so that one overlay serves several revisions.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

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


@dataclass(frozen=True, slots=True)
class Qualities:
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
def read_qualities(file: Path) -> Mapping[str, Qualities]:
    """Read an overlay. Raises ConfigError for what is not one."""
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    return MappingProxyType(
        {cluster: _qualities(table, cluster, file) for cluster, table in document.items()}
    )


def _qualities(table: object, cluster: str, file: Path) -> Qualities:
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{cluster}] is not a table")
    if unknown := sorted(table.keys() - {*_LISTS, *_TABLES}):
        raise ConfigError(
            f"{file}: [{cluster}] {unknown[0]}: unknown key; "
            f"known are {', '.join((*_LISTS, *_TABLES))}"
        )
    lists = {key: _names(table.get(key, []), f"{file}: [{cluster}] {key}") for key in _LISTS}
    tables: dict[str, dict[str, object]] = {}
    for key in _TABLES:
        entries = table.get(key, {})
        if not isinstance(entries, dict):
            raise ConfigError(f"{file}: [{cluster}] {key} is not a table")
        tables[key] = entries
    conformance: dict[str, str] = {}
    for name, text in tables["conformance"].items():
        if not isinstance(text, str):
            raise ConfigError(f"{file}: [{cluster}] conformance of {name} is not a string")
        conformance[name] = text
    checks = {
        name: _names(fields, f"{file}: [{cluster}] server_checks of {name}")
        for name, fields in tables["server_checks"].items()
    }
    return Qualities(
        **lists,
        conformance=MappingProxyType(conformance),
        server_checks=MappingProxyType(checks),
    )


def _names(value: object, where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where} is not a list of names")
    return frozenset(value)
