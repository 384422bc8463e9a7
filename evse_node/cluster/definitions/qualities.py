"""Facts on attributes and commands that ZAP XML cannot express, from TOML by cluster.

`xml/qualities.toml` applies to all revisions; names that a revision does not define are
ignored. `qualities.toml` in a revision's folder replaces keys of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, field

from evse_node.config.reading import convert, read_toml

_Names: TypeAlias = Annotated[frozenset[str], Meta(description="a list of names")]
_Conformance: TypeAlias = Annotated[
    dict[str, str], Meta(description="a table with a conformance string for each name")
]
_FieldPaths: TypeAlias = Annotated[
    dict[str, frozenset[str]], Meta(description="a table with a list of fields for each command")
]


class Qualities(Struct, frozen=True, forbid_unknown_fields=True):
    """Qualities of one cluster's elements.

    `conformance` (short notation by element name) applies where the XML only marks the
    element as optional. `server_checks` holds, by command, the paths of fields whose
    constraint the cluster's server checks itself.
    """

    nonvolatile: _Names = frozenset()
    fixed: _Names = frozenset()
    quieter: _Names = frozenset()
    changes_omitted: _Names = frozenset()
    fabric_sensitive: _Names = frozenset()
    fabric_scoped_commands: _Names = frozenset()
    conformance: _Conformance = field(default_factory=dict)
    server_checks: _FieldPaths = field(default_factory=dict)


NO_QUALITIES = Qualities()


@cache
def read_qualities(*files: Path) -> Mapping[str, Qualities]:
    """Read qualities by cluster name; keys of later files replace those of earlier ones.

    Raises ConfigError.
    """
    tables: dict[str, dict[str, object]] = {}
    found: dict[str, Qualities] = {}
    for file in files:
        for cluster, table in read_toml(file).items():
            if isinstance(table, dict):
                table = tables[cluster] = {**tables.get(cluster, {}), **table}
            found[cluster] = convert(table, Qualities, str(file), prefix=f"{cluster}.")
    return MappingProxyType(found)
