"""Cluster definitions from ZAP XML, the node's own files and upstream's alike.

Both of ZAP's dialects are read: the name of an attribute as element text, as
`<description>` or as `name`, and conformance as comments or as elements.

Spec: Matter Core 1.3 "Data Model Specification"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.naming import snake_case
from evse_node.cluster.definitions.qualities import NO_QUALITIES, Qualities, read_qualities
from evse_node.cluster.definitions.revision import DEFAULT_REVISION, XML_FOLDER, load_revision
from evse_node.cluster.definitions.type_scope import TYPE_TAGS, TypeScope
from evse_node.cluster.definitions.xml_file import Node, read_xml
from evse_node.cluster.definitions.zap_cluster import read_attribute, read_cluster
from evse_node.errors import ConfigError

SHIPPED_FOLDER = XML_FOLDER / DEFAULT_REVISION
QUALITIES_FILE = XML_FOLDER / "qualities.toml"
_TYPES_FILE = "types.xml"

# What a file may hold beside the elements that are read here.
_PASSED_OVER = frozenset(
    {"domain", "accessControl", "tag", "deviceType", "clusterExtension", "description"}
)


class Definitions(Mapping[str, ClusterDefinition]):
    """The clusters of folders of XML files by name ("Energy EVSE").

    Of files with the same name, that of the first folder counts. A file that is named as
    the cluster's snake_case is read when the cluster is asked for; it must not use types
    of other files than `types.xml`. For folders that are not laid out like that, all
    files are read as one.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._overlay = read_qualities(
            QUALITIES_FILE,
            *(
                folder / QUALITIES_FILE.name
                for folder in reversed(folders)
                if (folder / QUALITIES_FILE.name).is_file()
            ),
        )
        self._found: dict[str, ClusterDefinition] = {}
        self._all: Mapping[str, ClusterDefinition] | None = None

    def __getitem__(self, name: str) -> ClusterDefinition:
        if name not in self._found:
            file = self._file(f"{snake_case(name)}.xml")
            clusters = {} if file is None else self._read([file])
            if name not in clusters:
                clusters = self._read_all()
            self._found[name] = clusters[name]
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read_all())

    def __len__(self) -> int:
        return len(self._read_all())

    def _file(self, name: str) -> Path | None:
        files = (folder / name for folder in self._folders)
        return next((file for file in files if file.is_file()), None)

    def _read(self, files: Iterable[Path]) -> Mapping[str, ClusterDefinition]:
        base = _base_types(self._file(_TYPES_FILE) or SHIPPED_FOLDER / _TYPES_FILE)
        roots = [read_xml(file) for file in files]
        return {cluster.name: cluster for cluster in _definitions(roots, base, self._overlay)}

    def _read_all(self) -> Mapping[str, ClusterDefinition]:
        if self._all is None:
            files = {
                file.name: file
                for folder in reversed(self._folders)
                for file in folder.glob("*.xml")
            }
            if not files:
                raise ConfigError(f"{self._folders[0]}: no XML files")
            files.pop(_TYPES_FILE, None)
            found = self._read(files[name] for name in sorted(files))
            # A definition that was given out stays the one.
            self._all = {name: self._found.get(name, found[name]) for name in found}
        return self._all


def load_definitions(folder: Path | None = None) -> Definitions:
    """Return the clusters that the XML files in `folder` define; by default the node's own.

    Atomic types and global attributes come from the folder's `types.xml`, or else from
    the node's own. Errors of a file are raised as ConfigError when it is read.
    """
    return revision_definitions(DEFAULT_REVISION) if folder is None else Definitions(folder)


@cache
def revision_definitions(name: str) -> Definitions:
    """Return the node's own clusters in a revision of the specification ("1.4.2").

    Raises ConfigError for a name that no revision has.
    """
    return Definitions(*load_revision(name).folders)


def load_cluster_file(file: Path) -> tuple[ClusterDefinition, ...]:
    """Return the clusters that one ZAP XML file defines.

    Types that the file lacks are looked for in the node's own `types.xml`. Raises
    ConfigError, with file, line and reason.
    """
    base = _base_types(SHIPPED_FOLDER / _TYPES_FILE)
    clusters = _definitions([read_xml(file)], base, read_qualities(QUALITIES_FILE))
    if not clusters:
        raise ConfigError(f"{file}: defines no cluster")
    return clusters


class _BaseTypes:
    """What `types.xml` defines: types and global attributes."""

    def __init__(self, file: Path) -> None:
        self.scope = TypeScope()
        root = read_xml(file)
        _add_types([root], self.scope)
        attributes = {
            attribute.id: attribute
            for block in root.all("global")
            for node in block.all("attribute")
            if (attribute := read_attribute(node, 0, self.scope, frozenset(), NO_QUALITIES))
        }
        self.global_attributes = tuple(attributes[id_] for id_ in sorted(attributes))


@cache
def _base_types(file: Path) -> _BaseTypes:
    return _BaseTypes(file)


def _definitions(
    roots: list[Node], base: _BaseTypes, overlay: Mapping[str, Qualities]
) -> tuple[ClusterDefinition, ...]:
    scope = TypeScope(base.scope)
    _add_types(roots, scope)
    clusters: dict[int, ClusterDefinition] = {}
    names: set[str] = set()
    for root in roots:
        for node in root.all("cluster"):
            cluster = read_cluster(node, scope, base.global_attributes, overlay)
            if cluster.id in clusters:
                raise node.error(f"cluster {cluster.id:#06x} is defined twice")
            if cluster.name in names:
                raise node.error(f"cluster {cluster.name} is defined twice")
            names.add(cluster.name)
            clusters[cluster.id] = cluster
    return tuple(clusters[id_] for id_ in sorted(clusters))


def _add_types(roots: list[Node], scope: TypeScope) -> None:
    for root in roots:
        if root.tag != "configurator":
            raise root.error(f"<{root.tag}> is not a ZAP file's <configurator>")
        for node in root.children:
            if node.tag in TYPE_TAGS:
                scope.add(node)
            elif node.tag == "atomic":
                for atomic in node.all("type"):
                    scope.add_atomic(atomic)
            elif node.tag not in _PASSED_OVER | {"cluster", "global"}:
                raise node.error(f"unknown element <{node.tag}>")
