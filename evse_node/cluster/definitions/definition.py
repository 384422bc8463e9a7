"""Immutable cluster definitions: attributes, commands, events, types and features.

Read from XML by `evse_node.cluster.definitions.zap` and shared by all nodes of a process;
they compare and hash by identity. A `Selection` holds the elements of one cluster instance,
which depend on its features.

Spec: Matter Core 1.3 "Cluster", "Conformance", "Global Elements"
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from typing import TypeAlias, TypeVar

from msgspec import Struct

from evse_node.cluster.definitions.conformance import MANDATORY, Choice, Conformance, Presence
from evse_node.cluster.definitions.data_type import (
    BitmapDefinition,
    EnumDefinition,
    FieldDefinition,
    Kind,
    StructDefinition,
    Value,
    ValueType,
    snake_case,
)
from evse_node.errors import ConfigError
from evse_node.matter.data_model import EventPriority, Privilege

__all__ = [
    "AttributeDefinition",
    "BitmapDefinition",
    "ClusterDefinition",
    "CommandDefinition",
    "EnumDefinition",
    "EventDefinition",
    "FeatureDefinition",
    "FieldDefinition",
    "Kind",
    "Selection",
    "StructDefinition",
    "Value",
    "ValueType",
    "snake_case",
]

CLUSTER_REVISION = 0xFFFD
GENERATED_COMMAND_LIST = 0xFFF8


class AttributeDefinition(Struct, frozen=True, eq=False):
    """An attribute. `key` is its Python name.

    `default` is valid only with `has_default`. `write_privilege` is None for a read-only
    attribute. `is_quieter` is the Q quality: the cluster specifies which changes are reported.
    """

    id: int
    name: str
    key: str
    type: ValueType
    conformance: Conformance = MANDATORY
    has_default: bool = False
    default: Value = None
    read_privilege: Privilege = Privilege.VIEW
    write_privilege: Privilege | None = None
    is_timed_write: bool = False
    is_fabric_scoped: bool = False
    is_fabric_sensitive: bool = False
    is_nonvolatile: bool = False
    is_fixed: bool = False
    is_quieter: bool = False
    changes_omitted: bool = False

    def initial_value(self) -> Value:
        """Return the default; without one, null, zero or an empty value."""
        return self.default if self.has_default else self.type.empty()


class CommandDefinition(Struct, frozen=True, eq=False):
    """A request to the server, or with `is_response` a response from it.

    `response` is the name of the response command; None is a plain status. `unchecked` holds
    paths of fields ("ChargingTargetSchedules.ChargingTargets") whose constraint the
    cluster's server checks itself, because it responds with another status.
    """

    id: int
    name: str
    key: str
    fields: tuple[FieldDefinition, ...]
    conformance: Conformance = MANDATORY
    is_response: bool = False
    response: str | None = None
    invoke_privilege: Privilege = Privilege.OPERATE
    is_timed: bool = False
    is_fabric_scoped: bool = False
    unchecked: frozenset[str] = frozenset()


class EventDefinition(Struct, frozen=True, eq=False):
    """An event. `key` is its Python name."""

    id: int
    name: str
    key: str
    fields: tuple[FieldDefinition, ...]
    priority: EventPriority
    conformance: Conformance = MANDATORY
    read_privilege: Privilege = Privilege.VIEW
    is_fabric_sensitive: bool = False


class FeatureDefinition(Struct, frozen=True, eq=False):
    """A feature: bit number, code ("PREF") and name ("ChargingPreferences")."""

    bit: int
    code: str
    name: str
    conformance: Conformance


class Selection(Struct, frozen=True, eq=False):
    """Elements of a cluster instance in order of id, including the global attributes."""

    definition: ClusterDefinition
    features: frozenset[str]
    feature_map: int
    attributes: tuple[AttributeDefinition, ...]
    accepted_commands: tuple[CommandDefinition, ...]
    generated_commands: tuple[CommandDefinition, ...]
    events: tuple[EventDefinition, ...]


_Element = TypeVar("_Element", AttributeDefinition, CommandDefinition, EventDefinition)


class ClusterDefinition(Struct, frozen=True, eq=False):
    """A cluster. `attributes`, `commands` (requests), `responses` and `events` are by id.

    `attributes` does not include the `global_attributes`, which every instance has.
    """

    id: int
    name: str
    revision: int
    features: tuple[FeatureDefinition, ...]
    attributes: Mapping[int, AttributeDefinition]
    commands: Mapping[int, CommandDefinition]
    responses: Mapping[int, CommandDefinition]
    events: Mapping[int, EventDefinition]
    enums: Mapping[str, EnumDefinition]
    bitmaps: Mapping[str, BitmapDefinition]
    structs: Mapping[str, StructDefinition]
    global_attributes: tuple[AttributeDefinition, ...] = ()

    def attribute(self, name: str) -> AttributeDefinition:
        """Return an attribute by CamelCase or snake_case name. Raises ConfigError."""
        return self._find((*self.attributes.values(), *self.global_attributes), name, "attribute")

    def command(self, name: str) -> CommandDefinition:
        """Return a request command by either name. Raises ConfigError."""
        return self._find(self.commands.values(), name, "command")

    def response(self, name: str) -> CommandDefinition:
        """Return a response command by either name. Raises ConfigError."""
        return self._find(self.responses.values(), name, "response command")

    def event(self, name: str) -> EventDefinition:
        """Return an event by either name. Raises ConfigError."""
        return self._find(self.events.values(), name, "event")

    def enum(self, name: str) -> EnumDefinition:
        """Return an enumeration. Raises ConfigError."""
        if name not in self.enums:
            raise ConfigError(f"cluster {self.name} has no enum {name}")
        return self.enums[name]

    def has_feature(self, code: str) -> bool:
        """Return whether the cluster defines a feature, enabled or not.

        For behaviour that depends on the revision of the specification.
        """
        return any(feature.code == code for feature in self.features)

    def _find(self, elements: Iterable[_Element], name: str, what: str) -> _Element:
        for element in elements:
            if name in (element.name, element.key):
                return element
        raise ConfigError(f"cluster {self.name} has no {what} {name}")

    def feature_map(self, features: Collection[str]) -> int:
        """Return the FeatureMap of feature codes. Raises ConfigError for an unknown one."""
        bits = {feature.code: 1 << feature.bit for feature in self.features}
        unknown = sorted(set(features) - set(bits))
        if unknown:
            known = ", ".join(bits) or "none"
            raise ConfigError(
                f"cluster {self.name} has no feature {', '.join(unknown)}; known are: {known}"
            )
        return sum(bits[code] for code in set(features))

    def select(self, features: Collection[str] = (), optional: Collection[str] = ()) -> Selection:
        """Return the elements of an instance with these features.

        Elements that are mandatory with these features are included; optional (and
        provisional) ones are included when `optional` contains their name (specification's
        spelling); disallowed ones never. A response command is included with its request.

        Raises ConfigError for unknown names and for features that exclude each other or
        require another one.
        """
        chosen = frozenset(features)
        feature_map = self.feature_map(chosen)
        self._check_features(chosen)
        named = frozenset(optional)
        self._check_names(named)

        # An element's conformance may depend on the presence of others, in any order. The
        # number of passes is limited for elements that exclude each other in a circle.
        present: frozenset[str] = frozenset()
        elements: tuple[_AnyElement, ...] = (
            *self.attributes.values(),
            *self.commands.values(),
            *self.events.values(),
        )
        for _ in elements:
            known = present
            present = frozenset(
                element.name for element in elements if _is_present(element, chosen, named, known)
            )
            if present == known:
                break

        commands = _chosen(self.commands, chosen, named, present)
        generated = {command.response for command in commands}
        requested = {command.response for command in self.commands.values()}
        responses = tuple(
            response
            for response in _in_order(self.responses)
            if response.name in generated
            or (response.name not in requested and _is_present(response, chosen, named, present))
        )
        return Selection(
            definition=self,
            features=chosen,
            feature_map=feature_map,
            attributes=(
                *_chosen(self.attributes, chosen, named, present),
                *sorted(self.global_attributes, key=lambda attribute: attribute.id),
            ),
            accepted_commands=commands,
            generated_commands=responses,
            events=_chosen(self.events, chosen, named, present),
        )

    def _check_names(self, names: Set[str]) -> None:
        known = {
            element.name
            for table in (self.attributes, self.commands, self.responses, self.events)
            for element in table.values()
        }
        if unknown := sorted(names - known):
            raise ConfigError(
                f"cluster {self.name} has no attribute, command or event {', '.join(unknown)}"
            )

    def _check_features(self, chosen: Set[str]) -> None:
        groups: dict[Choice, list[str]] = {}
        for feature in self.features:
            presence = feature.conformance.evaluate(chosen)
            conformance = f"its conformance is {feature.conformance}"
            if presence is Presence.MANDATORY and feature.code not in chosen:
                raise ConfigError(
                    f"cluster {self.name} requires feature {feature.code} here: {conformance}"
                )
            if presence is Presence.DISALLOWED and feature.code in chosen:
                raise ConfigError(
                    f"cluster {self.name} cannot have feature {feature.code} here: {conformance}"
                )
            if choice := feature.conformance.choice(chosen):
                groups.setdefault(choice, []).append(feature.code)
        for choice, codes in groups.items():
            count = len(chosen & set(codes))
            if count < choice.minimum or (count > choice.minimum and not choice.is_more):
                wanted = f"{'at least' if choice.is_more else 'exactly'} {choice.minimum}"
                raise ConfigError(
                    f"cluster {self.name} requires {wanted} of the features {', '.join(codes)}"
                )


_AnyElement: TypeAlias = AttributeDefinition | CommandDefinition | EventDefinition


def _is_present(
    element: _AnyElement, features: Set[str], named: Set[str], present: Set[str]
) -> bool:
    presence = element.conformance.evaluate(features, present)
    if presence is Presence.MANDATORY:
        return True
    return presence is not Presence.DISALLOWED and element.name in named


def _in_order(table: Mapping[int, _Element]) -> list[_Element]:
    return [table[id_] for id_ in sorted(table)]


def _chosen(
    table: Mapping[int, _Element], features: Set[str], named: Set[str], present: Set[str]
) -> tuple[_Element, ...]:
    return tuple(
        element for element in _in_order(table) if _is_present(element, features, named, present)
    )
