"""Cluster servers: behaviour bound to a definition.

A server class holds handlers only; ids, types, ranges, access and conformance come
from the `ClusterDefinition`. Methods get their role from a decorator and their element
from their name in snake_case (or the name given to the decorator):

    @serves("Basic Information")
    class BasicInformation(ClusterServer):
        @reader
        def reachable(self, context: InteractionContext) -> Value: ...

        @writer("node_label")
        def write_node_label(self, context: InteractionContext, value: Value) -> None: ...

        @command
        def reset(self, context: InteractionContext, *, delay_s: int) -> None: ...

Spec: Matter Core 1.3 "Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, overload

from evse_node.matter.data_model import (
    Cluster,
    CommandReply,
    EventPath,
    EventPriority,
    EventRecord,
    InteractionContext,
    Node,
)
from evse_node.matter.tlv import TlvValue

if TYPE_CHECKING:
    from evse_node.cluster.definition import ClusterDefinition
    from evse_node.matter.store import Store

Value: TypeAlias = "None | bool | int | float | str | bytes | list[Value] | dict[str, Value]"


class EventSink(Protocol):
    """Where events go: the node's event log."""

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        """Number, time-stamp and keep an event, and tell the node's event observers."""
        ...


@dataclass(slots=True)
class ClusterEnvironment:
    """What a cluster instance may use of the node that it is attached to.

    `now` returns the monotonic seconds of the current turn, `utc_ms` milliseconds since
    1970 or None while the wall clock is not known, `random_bytes(n)` n random bytes.
    """

    node: Node
    store: Store
    event_log: EventSink
    now: Callable[[], float]
    utc_ms: Callable[[], int | None]
    random_bytes: Callable[[int], bytes]


_Function = TypeVar("_Function", bound=Callable[..., object])
_Class = TypeVar("_Class", bound="type[ClusterServer]")


@overload
def command(target: str) -> Callable[[_Function], _Function]: ...
@overload
def command(target: _Function) -> _Function: ...
def command(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark a method as handler of the command with its name (or of the name given).

    It is called as `handler(context, *, field=value, ...)` with the command's fields in
    snake_case; a field that the message lacks is left to the parameter's default, or is
    None. It returns the response's fields, or None for a plain status of success, and
    raises StatusError for any other answer.
    """
    return _mark("command", target)


@overload
def reader(target: str) -> Callable[[_Function], _Function]: ...
@overload
def reader(target: _Function) -> _Function: ...
def reader(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context) -> Value` as computing the attribute on each read.

    For a fabric-scoped list it returns the items of all fabrics, each with
    `fabric_index`; the server filters. Nothing is reported by itself: call `report`.
    """
    return _mark("reader", target)


@overload
def writer(target: str) -> Callable[[_Function], _Function]: ...
@overload
def writer(target: _Function) -> _Function: ...
def writer(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context, value) -> None` as replacing the default write of an attribute.

    The value has passed the definition's checks. For a fabric-scoped list it is the
    accessing fabric's complete new list, each item with its `fabric_index`. The method
    stores the value (`self.set`) or raises StatusError.
    """
    return _mark("writer", target)


def _mark(
    role: str, target: str | _Function
) -> _Function | Callable[[_Function], _Function]:
    raise NotImplementedError


def serves(name: str) -> Callable[[_Class], _Class]:
    """Bind a server class to the cluster with this name of the specification.

    Raises TypeError (so at import) for a handler whose element the shipped definitions
    do not know, or whose parameters are not the command's fields.
    """
    raise NotImplementedError


class ClusterServer(Cluster):
    """One cluster instance: the values of its attributes and its handlers.

    `features` are codes such as "PREF"; `optional` the CamelCase names of optional
    attributes, commands and events that are present; `values` the first values of
    attributes in snake_case. An attribute without value starts with its default, null
    or the empty list; ValueError if it has none of these. Persisted values of
    non-volatile attributes take over in `attach`.
    """

    name: str
    endpoint_id: int
    environment: ClusterEnvironment

    def __init__(
        self,
        definition: ClusterDefinition,
        *,
        features: Collection[str] = (),
        optional: Collection[str] = (),
        values: Mapping[str, Value] = {},
    ) -> None:
        raise NotImplementedError

    def attach(self, endpoint_id: int, environment: ClusterEnvironment) -> None:
        """Put the instance on an endpoint: load persisted values, choose a data version."""
        raise NotImplementedError

    def attached(self) -> None:
        """Do what needs the environment; called at the end of `attach`, to be overridden."""

    def has_feature(self, code: str) -> bool:
        """Return whether the feature with this code ("PREF") is on."""
        raise NotImplementedError

    def has_attribute(self, name: str) -> bool:
        """Return whether this instance has the attribute (snake_case)."""
        raise NotImplementedError

    def get(self, name: str) -> Value:
        """Return the stored value of an attribute (not that of a reader)."""
        raise NotImplementedError

    def set(self, **values: Value) -> None:
        """Store values; what changed is encoded, persisted if non-volatile, and reported.

        Names of attributes that this instance does not have are ignored if the definition
        knows them, so behaviour need not ask for each optional attribute. Raises
        StatusError (CONSTRAINT_ERROR) for a value that the definition does not allow.
        """
        raise NotImplementedError

    def set_quietly(self, **values: Value) -> None:
        """Store values like `set`, but leave it to `report` to tell subscribers.

        For attributes with quieter reporting.
        """
        raise NotImplementedError

    def report(self, *names: str) -> None:
        """Have attributes reported to subscribers (also those of readers)."""
        raise NotImplementedError

    def emit(self, event: str, **fields: Value) -> None:
        """Record an event (CamelCase name) with its fields in snake_case.

        A fabric-sensitive event needs `fabric_index`. An optional event that this instance
        does not have is ignored.
        """
        raise NotImplementedError

    def encode_attribute(self, attribute_id: int, context: InteractionContext) -> bytes:
        raise NotImplementedError

    def encode_list_items(self, attribute_id: int, context: InteractionContext) -> Sequence[bytes]:
        raise NotImplementedError

    def write_attribute(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        raise NotImplementedError

    def append_list_item(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        raise NotImplementedError

    def invoke(
        self, command_id: int, fields: TlvValue, context: InteractionContext
    ) -> CommandReply | None:
        raise NotImplementedError
