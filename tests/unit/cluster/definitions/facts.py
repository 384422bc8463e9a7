"""Cluster definitions as flat dictionaries by path, for comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from evse_node.cluster.definitions.definition import (
    ClusterDefinition,
    FieldDefinition,
    Kind,
    ValueType,
)

# Upstream's files beside the repository, if present. They are not part of it.
SPECIFICATION = Path(__file__).parents[5] / "shared" / "spec"

Facts = dict[str, object]
ABSENT = "-"


def type_facts(path: str, type_: ValueType) -> Facts:
    name = type_.name
    if type_.kind is Kind.LIST:
        assert type_.entry is not None
        name = f"list[{type_.entry.name}]"
    return {
        f"{path}.type": name,
        f"{path}.nullable": type_.is_nullable,
        f"{path}.range": (type_.minimum, type_.maximum),
        f"{path}.length": (type_.min_length or None, type_.max_length),
    }


def field_facts(path: str, fields: Iterable[FieldDefinition]) -> Facts:
    facts: Facts = {}
    for field in fields:
        place = f"{path}.{field.id}"
        facts[place] = field.name
        facts[f"{place}.optional"] = field.is_optional
        facts[f"{place}.sensitive"] = field.is_fabric_sensitive
        facts |= type_facts(place, field.type)
    return facts


def cluster_facts(cluster: ClusterDefinition) -> Facts:
    facts: Facts = {"id": cluster.id, "revision": cluster.revision}
    for feature in cluster.features:
        facts[f"feature {feature.bit}"] = (feature.code, feature.name)
        facts[f"feature {feature.bit}.conformance"] = str(feature.conformance)
    for attribute in cluster.attributes.values():
        path = f"attribute {attribute.id:04X}"
        default = attribute.default if attribute.has_default else None
        facts[path] = attribute.name
        facts[f"{path}.access"] = (attribute.read_privilege, attribute.write_privilege)
        facts[f"{path}.timed"] = attribute.is_timed_write
        facts[f"{path}.scoped"] = attribute.is_fabric_scoped
        facts[f"{path}.default"] = default or None
        facts[f"{path}.conformance"] = str(attribute.conformance)
        facts |= type_facts(path, attribute.type)
    for command in (*cluster.commands.values(), *cluster.responses.values()):
        path = f"{'response' if command.is_response else 'command'} {command.id:02X}"
        facts[path] = command.name
        facts[f"{path}.response"] = command.response
        facts[f"{path}.access"] = command.invoke_privilege
        facts[f"{path}.timed"] = command.is_timed
        facts[f"{path}.scoped"] = command.is_fabric_scoped
        facts[f"{path}.conformance"] = str(command.conformance)
        facts |= field_facts(path, command.fields)
    for event in cluster.events.values():
        path = f"event {event.id:02X}"
        facts[path] = event.name
        facts[f"{path}.access"] = event.read_privilege
        facts[f"{path}.priority"] = event.priority
        facts[f"{path}.sensitive"] = event.is_fabric_sensitive
        facts[f"{path}.conformance"] = str(event.conformance)
        facts |= field_facts(path, event.fields)
    for enum in cluster.enums.values():
        facts[f"enum {enum.name}"] = enum.size
        facts |= {f"enum {enum.name}.{value:#x}": name for name, value in enum.values.items()}
    for bitmap in cluster.bitmaps.values():
        facts[f"bitmap {bitmap.name}"] = bitmap.size
        facts |= {f"bitmap {bitmap.name}.{mask:#x}": name for name, mask in bitmap.fields.items()}
    for struct in cluster.structs.values():
        facts[f"struct {struct.name}"] = struct.is_fabric_scoped
        facts |= field_facts(f"struct {struct.name}", struct.fields)
    return facts


Difference = tuple[str, object, object]


def differences(own: Mapping[str, object], other: Mapping[str, object]) -> list[Difference]:
    """Return path, own and other value of each difference; a missing element once."""
    found: list[Difference] = []
    for path in sorted(own.keys() | other.keys()):
        mine, theirs = own.get(path, ABSENT), other.get(path, ABSENT)
        parent = path
        covered = False
        while "." in parent:
            parent = parent.rpartition(".")[0]
            covered |= (parent in own or parent in other) and ABSENT in (
                own.get(parent, ABSENT),
                other.get(parent, ABSENT),
            )
        if mine != theirs and not covered:
            found.append((path, mine, theirs))
    return found
