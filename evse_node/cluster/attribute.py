"""Attributes of a server class: typed members in place of names and values in a dictionary.

    @serves("Energy EVSE")
    class EnergyEvse(ClusterServer):
        supply_state: Attribute[int]
        charging_enabled_until: Attribute[int | None]
        state_of_charge: OptionalAttribute[int | None]

`serves` checks each annotation against the cluster's definition and puts the descriptor
in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar, overload

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.server_attribute import ServerAttribute

_Value = TypeVar("_Value")

# Values to be stored, with their encodings.
Encodings: TypeAlias = dict[ServerAttribute, tuple[Value, bytes]]


class AttributeOwner(Protocol):
    """The part of a cluster server that the descriptors use."""

    attributes_by_key: Mapping[str, ServerAttribute]
    pending: Encodings

    def assign(self, attribute: ServerAttribute, value: object) -> None:
        """Store a value, now or at the end of the running `changes` block."""


class Attribute(Generic[_Value]):
    """An attribute that every instance of the server class has.

    Assigning encodes a changed value once, persists it if non-volatile, steps the data
    version and reports it. Raises TypeError, ValueError or OverflowError for a value that
    does not fit. A value that was read must not be changed in place.
    """

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    @overload
    def __get__(self, server: None, owner: type) -> Attribute[_Value]: ...
    @overload
    def __get__(self, server: AttributeOwner, owner: type) -> _Value: ...
    def __get__(self, server: AttributeOwner | None, owner: type) -> Attribute[_Value] | _Value:
        if server is None:
            return self
        value: _Value = server.attributes_by_key[self.key].value
        return value

    def __set__(self, server: AttributeOwner, value: _Value) -> None:
        attribute = server.attributes_by_key[self.key]
        # Owners assign unchanged values again and again; no call for these.
        if value is not attribute.value or attribute.is_mutable or attribute in server.pending:
            server.assign(attribute, value)


class OptionalAttribute(Generic[_Value]):
    """An attribute that some instances lack, by their features or the optional elements chosen.

    There it reads as None, and assigning has no effect.
    """

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    @overload
    def __get__(self, server: None, owner: type) -> OptionalAttribute[_Value]: ...
    @overload
    def __get__(self, server: AttributeOwner, owner: type) -> _Value | None: ...
    def __get__(
        self, server: AttributeOwner | None, owner: type
    ) -> OptionalAttribute[_Value] | _Value | None:
        if server is None:
            return self
        attribute = server.attributes_by_key.get(self.key)
        if attribute is None:
            return None
        value: _Value = attribute.value
        return value

    def __set__(self, server: AttributeOwner, value: _Value) -> None:
        attribute = server.attributes_by_key.get(self.key)
        if attribute is not None and (
            value is not attribute.value or attribute.is_mutable or attribute in server.pending
        ):
            server.assign(attribute, value)
