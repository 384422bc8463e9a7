"""One `<cluster>` of ZAP XML to its definition.

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
    BitmapDefinition,
    ClusterDefinition,
    CommandDefinition,
    EnumDefinition,
    EventDefinition,
    FeatureDefinition,
    Kind,
    StructDefinition,
)
from evse_node.cluster.definitions.naming import snake_case
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

# What a cluster may hold beside the elements that are read here.
_PASSED_OVER = frozenset(
    {"name", "code", "domain", "define", "client", "server", "description", "features", "tag"}
)


def read_cluster(
    node: Node,
    scope: TypeScope,
    global_attributes: tuple[AttributeDefinition, ...],
    overlay: Mapping[str, Qualities],
) -> ClusterDefinition:
    """Return what a `<cluster>` defines. `overlay` is by cluster name. Raises ConfigError."""
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
                attribute = read_attribute(child, code, scope, codes, qualities)
                attributes.append((child, attribute))
        elif child.tag == "command":
            commands.append((child, _command(child, code, scope, codes, qualities)))
        elif child.tag == "event":
            events.append((child, _event(child, code, scope, codes, qualities)))
        elif child.tag == "globalAttribute":
            if child.required_number("code", 0xFFFF) == CLUSTER_REVISION:
                revision = child.required_number("value", 0xFFFF)
        elif child.tag not in _PASSED_OVER | CONFORMANCE_TAGS:
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
        global_attributes=global_attributes,
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


def read_attribute(
    node: Node, cluster: int, scope: TypeScope, features: frozenset[str], qualities: Qualities
) -> AttributeDefinition:
    """Return what an `<attribute>` defines. `features` are the cluster's codes.

    Raises ConfigError.
    """
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
