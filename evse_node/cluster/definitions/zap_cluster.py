"""Cluster definitions from `<cluster>` elements of ZAP XML.

Spec: Matter Core 1.3 "Data Model Specification"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from evse_node.cluster.definitions.conformance import Conformance
from evse_node.cluster.definitions.conformance_xml import (
    CONFORMANCE_TAGS,
    conformance_of,
    parse_conformance,
    states_conformance,
)
from evse_node.cluster.definitions.definition import (
    CLUSTER_REVISION,
    AttributeDefinition,
    ClusterDefinition,
    CommandDefinition,
    EventDefinition,
    FeatureDefinition,
    snake_case,
)
from evse_node.cluster.definitions.qualities import NO_QUALITIES, Qualities
from evse_node.cluster.definitions.type_scope import TypeScope, default_value
from evse_node.cluster.definitions.xml_file import Node
from evse_node.matter.data_model import EventPriority, Privilege

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
_IS_RESPONSE = {"client": False, "server": True}

# Elements of a cluster; those of the second line are ignored.
_KNOWN_TAGS = CONFORMANCE_TAGS | {
    *("name", "code", "features", "attribute", "command", "event", "globalAttribute"),
    *("domain", "define", "client", "server", "description", "tag"),
}


def read_cluster(
    node: Node,
    scope: TypeScope,
    global_attributes: tuple[AttributeDefinition, ...],
    overlay: Mapping[str, Qualities],
) -> ClusterDefinition:
    """Return the definition of a `<cluster>`. `overlay` is by cluster name. Raises ConfigError."""
    for child in node.children:
        if child.tag not in _KNOWN_TAGS:
            raise child.error(f"unknown element <{child.tag}> in a cluster")
    name = _child_text(node, "name")
    code = node.parse_number(_child_text(node, "code"), "code")
    if not 0 <= code <= 0xFFFF_FFFF:
        raise node.error(f"cluster code {code:#x} is not in 0 to 0xFFFFFFFF")
    if "code" in node.attributes and node.number("code") != code:
        raise node.error(f"cluster {name} has two codes")
    features = _features(node)
    codes = frozenset(feature.code for feature in features)
    reader = ElementReader(code, scope, codes, overlay.get(name, NO_QUALITIES))
    commands = [(child, reader.command(child)) for child in node.all("command")]
    responses = _by_id((n, c) for n, c in commands if c.is_response)
    known_responses = {None, *(response.name for response in responses.values())}
    for child, command in commands:
        if command.response not in known_responses:
            raise child.error(f"response {command.response} is not a command from the server")
    types = [scope.look_up(type_name, code, node) for type_name in sorted(scope.names(code))]
    return ClusterDefinition(
        id=code,
        name=name,
        revision=_revision(node),
        features=features,
        attributes=_by_id(
            (child, reader.attribute(child))
            for child in node.all("attribute")
            if child.attributes.get("side") != "client"
        ),
        commands=_by_id((n, c) for n, c in commands if not c.is_response),
        responses=responses,
        events=_by_id((child, reader.event(child)) for child in node.all("event")),
        enums=MappingProxyType({found.name: found.enum for found in types if found.enum}),
        bitmaps=MappingProxyType({found.name: found.bitmap for found in types if found.bitmap}),
        structs=MappingProxyType({found.name: found.struct for found in types if found.struct}),
        global_attributes=global_attributes,
    )


def _child_text(node: Node, tag: str) -> str:
    child = node.first(tag)
    if child is None or not child.text.strip():
        raise node.error(f"<cluster> has no <{tag}>")
    return child.text.strip()


def _revision(cluster: Node) -> int:
    revision = 1
    for node in cluster.all("globalAttribute"):
        if node.required_number("code", 0xFFFF) == CLUSTER_REVISION:
            revision = node.required_number("value", 0xFFFF)
    return revision


_Element = TypeVar("_Element", AttributeDefinition, CommandDefinition, EventDefinition)


def _by_id(elements: Iterable[tuple[Node, _Element]]) -> Mapping[int, _Element]:
    found: dict[int, _Element] = {}
    taken: dict[str, Node] = {}
    for node, element in elements:
        node.claim(taken, f"{node.tag} id {element.id:#06x}", f"{node.tag} {element.key}")
        found[element.id] = element
    return MappingProxyType({id_: found[id_] for id_ in sorted(found)})


def _features(cluster: Node) -> tuple[FeatureDefinition, ...]:
    block = cluster.first("features")
    nodes = list(block.all("feature")) if block else []
    codes = frozenset(node.required("code") for node in nodes)
    features: dict[int, FeatureDefinition] = {}
    taken: dict[str, Node] = {}
    for node in nodes:
        code = node.required("code")
        bit = node.required_number("bit", 31)
        node.claim(taken, f"feature bit {bit}", f"feature {code}")
        conformance = conformance_of(node, codes, default_optional=True)
        features[bit] = FeatureDefinition(bit, code, node.required("name"), conformance)
    return tuple(features[bit] for bit in sorted(features))


class ElementReader:
    """Reader for attributes, commands and events of one cluster. Raises ConfigError.

    `features` are the cluster's feature codes.
    """

    def __init__(
        self,
        cluster: int,
        scope: TypeScope,
        features: frozenset[str] = frozenset(),
        qualities: Qualities = NO_QUALITIES,
    ) -> None:
        self._cluster = cluster
        self._scope = scope
        self._features = features
        self._qualities = qualities

    def attribute(self, node: Node) -> AttributeDefinition:
        """Return the definition of an `<attribute>`."""
        name = _attribute_name(node)
        type_ = self._scope.value_type(node, self._cluster)
        has_default, default = default_value(node, type_)
        access = _access(node, "read", "write")
        is_writable = node.flag("writable")
        if "write" in access and not is_writable:
            raise node.error(f"attribute {name} has a write privilege but is not writable")
        struct = type_.entry.struct if type_.entry else None
        quality = node.first("quality")
        qualities = self._qualities
        return AttributeDefinition(
            id=node.required_number("code", 0xFFFF_FFFF),
            name=name,
            key=snake_case(name),
            type=type_,
            conformance=self._conformance(node, name),
            has_default=has_default,
            default=default,
            read_privilege=access.get("read", Privilege.VIEW),
            write_privilege=access.get("write", Privilege.OPERATE) if is_writable else None,
            is_timed_write=node.flag("mustUseTimedWrite"),
            is_fabric_scoped=struct is not None and struct.is_fabric_scoped,
            is_fabric_sensitive=node.flag("isFabricSensitive")
            or name in qualities.fabric_sensitive,
            is_nonvolatile=name in qualities.nonvolatile,
            is_fixed=name in qualities.fixed,
            is_quieter=name in qualities.quieter,
            changes_omitted=name in qualities.changes_omitted
            or (quality is not None and quality.flag("changeOmitted")),
        )

    def command(self, node: Node) -> CommandDefinition:
        """Return the definition of a `<command>`."""
        name = node.required("name")
        is_response = node.choice("source", _IS_RESPONSE)
        qualities = self._qualities
        return CommandDefinition(
            id=node.required_number("code", 0xFFFF_FFFF),
            name=name,
            key=snake_case(name),
            fields=self._scope.fields(node, "arg", self._cluster),
            conformance=self._conformance(node, name),
            is_response=is_response,
            response=None if is_response else node.attributes.get("response"),
            invoke_privilege=_access(node, "invoke").get("invoke", Privilege.OPERATE),
            is_timed=node.flag("mustUseTimedInvoke"),
            is_fabric_scoped=node.flag("isFabricScoped")
            or name in qualities.fabric_scoped_commands,
            unchecked=qualities.server_checks.get(name, frozenset()),
        )

    def event(self, node: Node) -> EventDefinition:
        """Return the definition of an `<event>`."""
        name = node.required("name")
        return EventDefinition(
            id=node.required_number("code", 0xFFFF_FFFF),
            name=name,
            key=snake_case(name),
            fields=self._scope.fields(node, "field", self._cluster),
            priority=node.choice("priority", _PRIORITIES),
            conformance=self._conformance(node, name),
            read_privilege=_access(node, "read").get("read", Privilege.VIEW),
            is_fabric_sensitive=node.flag("isFabricSensitive"),
        )

    def _conformance(self, node: Node, name: str) -> Conformance:
        text = self._qualities.conformance.get(name)
        if text is not None and not states_conformance(node):
            return parse_conformance(text, self._features, node)
        return conformance_of(node, self._features)


def _access(node: Node, *operations: str) -> dict[str, Privilege]:
    """Return the privileges by operation."""
    access: dict[str, Privilege] = {}
    taken: dict[str, Node] = {}
    for child in node.all("access"):
        operation = child.required("op")
        if operation not in operations:
            raise child.error(f"access op {operation} is not {' or '.join(operations)}")
        child.claim(taken, f"access op {operation}")
        name = "role" if "role" in child.attributes else "privilege"
        access[operation] = child.choice(name, _PRIVILEGES)
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
