"""Cluster definitions from ZAP XML: the node's own files and upstream's.

Both dialects are supported: the name of an attribute as element text, as `<description>`
or as `name`, and conformance as comments or as elements.

Spec: Matter Core 1.3 "Data Model Specification"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from evse_node.cluster.definitions.definition import ClusterDefinition, snake_case
from evse_node.cluster.definitions.qualities import Qualities, read_qualities
from evse_node.cluster.definitions.revision import DEFAULT_REVISION, XML_FOLDER, load_revision
from evse_node.cluster.definitions.type_scope import TYPE_TAGS, TypeScope
from evse_node.cluster.definitions.xml_file import Node, read_xml
from evse_node.cluster.definitions.zap_cluster import ElementReader, read_cluster
from evse_node.errors import ConfigError

SHIPPED_FOLDER = XML_FOLDER / DEFAULT_REVISION
QUALITIES_FILE = XML_FOLDER / "qualities.toml"
_TYPES_FILE = "types.xml"

# Elements of a file beside types; those of the second line are ignored.
_KNOWN_TAGS = frozenset(
    {
        *("cluster", "global"),
        *("domain", "accessControl", "tag", "deviceType", "clusterExtension", "description"),
    }
)


class Definitions(Mapping[str, ClusterDefinition]):
    """Clusters by name ("Energy EVSE"), from folders of XML files.

    Of files with the same name, that of the first folder is used. A file with the
    cluster's name in snake_case is read on first access; it may use its own types and
    those of `types.xml`. In other folders all files are read together.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        files = (folder / QUALITIES_FILE.name for folder in reversed(folders))
        self._overlay = read_qualities(QUALITIES_FILE, *(file for file in files if file.is_file()))
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
            # Definitions compare by identity: keep those that were returned before.
            self._all = {name: self._found.get(name, found[name]) for name in found}
        return self._all


def load_definitions(folder: Path | None = None) -> Definitions:
    """Return the clusters of the XML files in `folder`; by default the node's own.

    Atomic types and global attributes come from the folder's `types.xml`, or else from
    the node's own. A file with an error raises ConfigError when it is read.
    """
    return revision_definitions(DEFAULT_REVISION) if folder is None else Definitions(folder)


@cache
def revision_definitions(name: str) -> Definitions:
    """Return the node's own clusters of a revision ("1.4.2"). Raises ConfigError."""
    return Definitions(*load_revision(name).folders)


def load_cluster_file(file: Path) -> tuple[ClusterDefinition, ...]:
    """Return the clusters of one ZAP XML file, which may use types of the node's `types.xml`.

    Raises ConfigError with file, line and reason.
    """
    base = _base_types(SHIPPED_FOLDER / _TYPES_FILE)
    clusters = _definitions([read_xml(file)], base, read_qualities(QUALITIES_FILE))
    if not clusters:
        raise ConfigError(f"{file}: defines no cluster")
    return clusters


class _BaseTypes:
    """Types and global attributes of a `types.xml`."""

    def __init__(self, file: Path) -> None:
        self.scope = TypeScope()
        root = read_xml(file)
        _add_types([root], self.scope)
        reader = ElementReader(0, self.scope)
        nodes = (node for block in root.all("global") for node in block.all("attribute"))
        attributes = {attribute.id: attribute for attribute in map(reader.attribute, nodes)}
        self.global_attributes = tuple(attributes[id_] for id_ in sorted(attributes))


_base_types = cache(_BaseTypes)


def _definitions(
    roots: list[Node], base: _BaseTypes, overlay: Mapping[str, Qualities]
) -> tuple[ClusterDefinition, ...]:
    scope = TypeScope(base.scope)
    _add_types(roots, scope)
    clusters: dict[int, ClusterDefinition] = {}
    taken: dict[str, Node] = {}
    for root in roots:
        for node in root.all("cluster"):
            cluster = read_cluster(node, scope, base.global_attributes, overlay)
            node.claim(taken, f"cluster {cluster.id:#06x}", f"cluster {cluster.name}")
            clusters[cluster.id] = cluster
    return tuple(clusters[id_] for id_ in sorted(clusters))


def _add_types(roots: list[Node], scope: TypeScope) -> None:
    for root in roots:
        if root.tag != "configurator":
            raise root.error(f"<{root.tag}> is not the <configurator> of a ZAP file")
        for node in root.children:
            if node.tag in TYPE_TAGS:
                scope.add(node)
            elif node.tag == "atomic":
                for atomic in node.all("type"):
                    scope.add_atomic(atomic)
            elif node.tag not in _KNOWN_TAGS:
                raise node.error(f"unknown element <{node.tag}>")
