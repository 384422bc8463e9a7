"""Cluster definitions from ZAP XML, the node's own files and upstream's alike.

Both of ZAP's dialects are read: the name of an attribute as element text, as
`<description>` or as `name`, and conformance as comments or as elements.

Spec: Matter Core 1.3 "Data Model Specification"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from evse_node.cluster.conformance import Conformance
from evse_node.cluster.conformance_xml import (
    CONFORMANCE_TAGS,
    conformance_of,
    parse_conformance,
    states_conformance,
)
from evse_node.cluster.definition import (
    CLUSTER_REVISION,
    AttributeDefinition,
    BitmapDefinition,
    ClusterDefinition,
    CommandDefinition,
    EnumDefinition,
    EventDefinition,
    FeatureDefinition,
    Kind,
    StructDefinition,
)
from evse_node.cluster.naming import snake_case
from evse_node.cluster.qualities import NO_QUALITIES, Qualities, read_qualities
from evse_node.cluster.value_types import TYPE_TAGS, TypeScope, default_value
from evse_node.cluster.xml_file import Node, read_xml
from evse_node.errors import ConfigError
from evse_node.matter.data_model import EventPriority, Privilege

XML_FOLDER = Path(__file__).parent / "xml"
SHIPPED_FOLDER = XML_FOLDER / "1.3"
QUALITIES_FILE = XML_FOLDER / "qualities.toml"
_TYPES_FILE = "types.xml"

_PRIVILEGES = {
    "view": Privilege.VIEW,
    "proxy_view": Privilege.PROXY_VIEW,
    "operate": Privilege.OPERATE,
    "manage": Privilege.MANAGE,
    "administer": Privilege.ADMINISTER,
}
_PRIORITIES = {
    "debug": EventPriority.DEBUG,
    "info": EventPriority.INFO,
    "critical": EventPriority.CRITICAL,
}

# What a file and a cluster may hold beside the elements that are read here.
_PASSED_OVER = frozenset(
    {"domain", "accessControl", "tag", "deviceType", "clusterExtension", "description"}
)
_CLUSTER_PASSED_OVER = frozenset(
    {"name", "code", "domain", "define", "client", "server", "description", "features", "tag"}
)


class Definitions(Mapping[str, ClusterDefinition]):
    """The clusters of a folder of XML files by name ("Energy EVSE").

    A file that is named as the cluster's snake_case is read when the cluster is asked for;
    it must not use types of other files than `types.xml`. For a folder that is not laid
    out like that, all files are read as one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, ClusterDefinition] = {}
        self._all: Mapping[str, ClusterDefinition] | None = None

    def __getitem__(self, name: str) -> ClusterDefinition:
        if name not in self._found:
            file = self._folder / f"{snake_case(name)}.xml"
            clusters = self._read_one(file) if file.is_file() else {}
            if name not in clusters:
                clusters = self._read_all()
            self._found[name] = clusters[name]
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read_all())

    def __len__(self) -> int:
        return len(self._read_all())

    def _read_one(self, file: Path) -> Mapping[str, ClusterDefinition]:
        return _by_name(_definitions([read_xml(file)], _base_types(self._folder)))

    def _read_all(self) -> Mapping[str, ClusterDefinition]:
        if self._all is None:
            roots = [read_xml(file) for file in sorted(self._folder.glob("*.xml"))]
            if not roots:
                raise ConfigError(f"{self._folder}: no XML files")
            base = self._folder / _TYPES_FILE
            roots = [root for root in roots if root.file != base]
            self._all = _by_name(_definitions(roots, _base_types(self._folder)))
            # A definition that was given out stays the one.
            self._all = {name: self._found.get(name, d) for name, d in self._all.items()}
        return self._all


def load_definitions(folder: Path | None = None) -> Definitions:
    """Return the clusters that the XML files in `folder` define; by default the node's own.

    Atomic types and global attributes come from the folder's `types.xml`, or else from
    the node's own. Errors of a file are raised as ConfigError when it is read.
    """
    return _shipped() if folder is None else Definitions(folder)


@cache
def _shipped() -> Definitions:
    return Definitions(SHIPPED_FOLDER)


def load_cluster_file(file: Path) -> tuple[ClusterDefinition, ...]:
    """Return the clusters that one ZAP XML file defines.

    Types that the file lacks are looked for in the node's own `types.xml`. Raises
    ConfigError, with file, line and reason.
    """
    clusters = _definitions([read_xml(file)], _base_types(SHIPPED_FOLDER))
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
            if (attribute := _attribute(node, 0, self.scope, frozenset(), NO_QUALITIES))
        }
        self.global_attributes = tuple(attributes[id_] for id_ in sorted(attributes))


@cache
def _base_types(folder: Path) -> _BaseTypes:
    file = folder / _TYPES_FILE
    return _BaseTypes(file if file.is_file() else SHIPPED_FOLDER / _TYPES_FILE)


def _by_name(clusters: Iterable[ClusterDefinition]) -> Mapping[str, ClusterDefinition]:
    return {cluster.name: cluster for cluster in clusters}


def _definitions(roots: list[Node], base: _BaseTypes) -> tuple[ClusterDefinition, ...]:
    scope = TypeScope(base.scope)
    _add_types(roots, scope)
    overlay = read_qualities(QUALITIES_FILE)
    clusters: dict[int, ClusterDefinition] = {}
    names: set[str] = set()
    for root in roots:
        for node in root.all("cluster"):
            cluster = _cluster(node, scope, base, overlay)
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


def _cluster(
    node: Node, scope: TypeScope, base: _BaseTypes, overlay: Mapping[str, Qualities]
) -> ClusterDefinition:
    name = _child_text(node, "name")
    code = node.parse_number(_child_text(node, "code"), "code")
    if not 0 <= code <= 0xFFFF_FFFF:
        raise node.error(f"cluster code {code:#x} is not in 0 to 0xFFFFFFFF")
    if "code" in node.attributes and node.number("code") != code:
        raise node.error(f"cluster {name} has two codes")
    qualities = overlay.get(name, NO_QUALITIES)
    features = _features(node)
    codes = frozenset(feature.code for feature in features)
    revision = 1
    attributes: list[tuple[Node, AttributeDefinition]] = []
    commands: list[tuple[Node, CommandDefinition]] = []
    events: list[tuple[Node, EventDefinition]] = []
    for child in node.children:
        if child.tag == "attribute":
            if child.attributes.get("side", "server") != "client":
                attribute = _attribute(child, code, scope, codes, qualities)
                attributes.append((child, attribute))
        elif child.tag == "command":
            commands.append((child, _command(child, code, scope, codes, qualities)))
        elif child.tag == "event":
            events.append((child, _event(child, code, scope, codes, qualities)))
        elif child.tag == "globalAttribute":
            if child.required_number("code", 0xFFFF) == CLUSTER_REVISION:
                revision = child.required_number("value", 0xFFFF)
        elif child.tag not in _CLUSTER_PASSED_OVER | CONFORMANCE_TAGS:
            raise child.error(f"unknown element <{child.tag}> in cluster {name}")
    requests = _by_id((n, c) for n, c in commands if not c.is_response)
    responses = _by_id((n, c) for n, c in commands if c.is_response)
    known_responses = {response.name for response in responses.values()}
    for child, command in commands:
        if command.response is not None and command.response not in known_responses:
            raise child.error(f"response {command.response} is not a command from the server")
    enums: dict[str, EnumDefinition] = {}
    bitmaps: dict[str, BitmapDefinition] = {}
    structs: dict[str, StructDefinition] = {}
    for type_name in sorted(scope.names(code)):
        made = scope.look_up(type_name, code, node)
        if made.enum:
            enums[type_name] = made.enum
        elif made.bitmap:
            bitmaps[type_name] = made.bitmap
        elif made.struct:
            structs[type_name] = made.struct
    return ClusterDefinition(
        id=code,
        name=name,
        revision=revision,
        features=features,
        attributes=_by_id(attributes),
        commands=requests,
        responses=responses,
        events=_by_id(events),
        enums=MappingProxyType(enums),
        bitmaps=MappingProxyType(bitmaps),
        structs=MappingProxyType(structs),
        global_attributes=base.global_attributes,
    )


def _child_text(node: Node, tag: str) -> str:
    child = node.first(tag)
    if child is None or not child.text.strip():
        raise node.error(f"<cluster> has no <{tag}>")
    return child.text.strip()


_Element = TypeVar("_Element", AttributeDefinition, CommandDefinition, EventDefinition)


def _by_id(elements: Iterable[tuple[Node, _Element]]) -> Mapping[int, _Element]:
    found: dict[int, _Element] = {}
    keys: set[str] = set()
    for node, element in elements:
        if element.id in found:
            other = found[element.id].name
            raise node.error(f"{node.tag} id {element.id:#06x} is taken by {other}")
        if element.key in keys:
            raise node.error(f"{node.tag} {element.name} is there already")
        found[element.id] = element
        keys.add(element.key)
    return MappingProxyType({id_: found[id_] for id_ in sorted(found)})


def _features(cluster: Node) -> tuple[FeatureDefinition, ...]:
    block = cluster.first("features")
    nodes = list(block.all("feature")) if block else []
    codes = frozenset(node.required("code") for node in nodes)
    features: dict[int, FeatureDefinition] = {}
    seen: set[str] = set()
    for node in nodes:
        code = node.required("code")
        bit = node.required_number("bit", 31)
        if bit in features:
            raise node.error(f"feature bit {bit} is taken by {features[bit].code}")
        if code in seen:
            raise node.error(f"feature {code} is there already")
        seen.add(code)
        conformance = conformance_of(node, codes, default_optional=True)
        features[bit] = FeatureDefinition(bit, code, node.required("name"), conformance)
    return tuple(features[bit] for bit in sorted(features))


def _conformance(
    node: Node, name: str, features: frozenset[str], qualities: Qualities
) -> Conformance:
    text = qualities.conformance.get(name)
    if text is not None and not states_conformance(node):
        return parse_conformance(text, features, node)
    return conformance_of(node, features)


def _access(node: Node) -> dict[str, Privilege]:
    access: dict[str, Privilege] = {}
    for child in node.all("access"):
        operation = child.required("op")
        name = child.attributes.get("privilege") or child.attributes.get("role") or ""
        if operation not in ("read", "write", "invoke"):
            raise child.error(f"access op {operation} is not read, write or invoke")
        if name not in _PRIVILEGES:
            raise child.error(f"privilege {name!r} is not one of {', '.join(_PRIVILEGES)}")
        if operation in access:
            raise child.error(f"access op {operation} is stated twice")
        access[operation] = _PRIVILEGES[name]
    return access


def _attribute_name(node: Node) -> str:
    description = node.first("description")
    name = (
        node.attributes.get("name", "").strip()
        or node.text.strip()
        or (description.text.strip() if description else "")
    )
    if not name:
        raise node.error("<attribute> has no name")
    return name


def _attribute(
    node: Node, cluster: int, scope: TypeScope, features: frozenset[str], qualities: Qualities
) -> AttributeDefinition:
    name = _attribute_name(node)
    type_ = scope.value_type(node, cluster)
    has_default, default = default_value(node, type_)
    access = _access(node)
    if "invoke" in access:
        raise node.error(f"attribute {name} cannot be invoked")
    is_writable = node.flag("writable")
    if "write" in access and not is_writable:
        raise node.error(f"attribute {name} has a write privilege but is not writable")
    entry = type_.entry
    quality = node.first("quality")
    return AttributeDefinition(
        id=node.required_number("code", 0xFFFF_FFFF),
        name=name,
        key=snake_case(name),
        type=type_,
        conformance=_conformance(node, name, features, qualities),
        has_default=has_default,
        default=default,
        read_privilege=access.get("read", Privilege.VIEW),
        write_privilege=access.get("write", Privilege.OPERATE) if is_writable else None,
        is_timed_write=node.flag("mustUseTimedWrite"),
        is_fabric_scoped=(
            type_.kind is Kind.LIST
            and entry is not None
            and entry.struct is not None
            and entry.struct.is_fabric_scoped
        ),
        is_fabric_sensitive=node.flag("isFabricSensitive") or name in qualities.fabric_sensitive,
        is_nonvolatile=name in qualities.nonvolatile,
        is_fixed=name in qualities.fixed,
        is_quieter=name in qualities.quieter,
        changes_omitted=(
            name in qualities.changes_omitted
            or (quality is not None and quality.flag("changeOmitted"))
        ),
    )


def _command(
    node: Node, cluster: int, scope: TypeScope, features: frozenset[str], qualities: Qualities
) -> CommandDefinition:
    name = node.required("name")
    source = node.required("source")
    if source not in ("client", "server"):
        raise node.error(f"source {source} is not client or server")
    access = _access(node)
    if access.keys() - {"invoke"}:
        raise node.error(f"command {name} can only be invoked")
    unchecked = qualities.server_checks.get(name, frozenset())
    return CommandDefinition(
        id=node.required_number("code", 0xFFFF_FFFF),
        name=name,
        key=snake_case(name),
        fields=scope.fields(node, "arg", cluster),
        conformance=_conformance(node, name, features, qualities),
        is_response=source == "server",
        response=node.attributes.get("response") if source == "client" else None,
        invoke_privilege=access.get("invoke", Privilege.OPERATE),
        is_timed=node.flag("mustUseTimedInvoke"),
        is_fabric_scoped=node.flag("isFabricScoped") or name in qualities.fabric_scoped_commands,
        unchecked=unchecked,
    )


def _event(
    node: Node, cluster: int, scope: TypeScope, features: frozenset[str], qualities: Qualities
) -> EventDefinition:
    name = node.required("name")
    priority = node.required("priority")
    if priority not in _PRIORITIES:
        raise node.error(f"priority {priority} is not one of {', '.join(_PRIORITIES)}")
    access = _access(node)
    if access.keys() - {"read"}:
        raise node.error(f"event {name} can only be read")
    return EventDefinition(
        id=node.required_number("code", 0xFFFF_FFFF),
        name=name,
        key=snake_case(name),
        fields=scope.fields(node, "field", cluster),
        priority=_PRIORITIES[priority],
        conformance=_conformance(node, name, features, qualities),
        read_privilege=access.get("read", Privilege.VIEW),
        is_fabric_sensitive=node.flag("isFabricSensitive"),
    )
