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

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Final

from msgspec import Struct

from evse_node.cluster.binding import (
    check_fields,
    command,
    handlers_of,
    kept_reader,
    reader,
    serves,
    writer,
)
from evse_node.cluster.codec.codec import (
    FABRIC_INDEX,
    FieldsCodec,
    command_codec,
    event_codec,
)
from evse_node.cluster.definitions.definition import (
    ClusterDefinition,
    EventDefinition,
    Selection,
    Value,
)
from evse_node.cluster.environment import ClusterEnvironment, EventSink
from evse_node.cluster.server_attribute import ServerAttribute
from evse_node.errors import StatusError
from evse_node.matter.data_model import (
    Cluster,
    CommandEntry,
    CommandReply,
    DeferredReply,
    EventEntry,
    EventPath,
    InteractionContext,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue

__all__ = [
    "ClusterEnvironment",
    "ClusterServer",
    "EventSink",
    "LaterReply",
    "Value",
    "command",
    "kept_reader",
    "reader",
    "serves",
    "writer",
]

_LOGGER: Final = logging.getLogger(__name__)

_FIELDS_TAG = 1
_EVENT_DATA_TAG = 7


class _BoundCommand(Struct, frozen=True):
    """A command with its handler. `nullable` are fields that are None when absent."""

    handler: Callable[..., Mapping[str, Value] | LaterReply | None]
    codec: FieldsCodec
    nullable: tuple[str, ...]
    response_id: int | None
    response_codec: FieldsCodec | None

    def reply(self, fields: Mapping[str, Value] | None) -> CommandReply | None:
        """Return the response with these fields. Raises StatusError when there is none."""
        if fields is None:
            return None
        if self.response_codec is None or self.response_id is None:
            raise StatusError(Status.FAILURE, reason="response to a command that has none")
        return CommandReply(self.response_id, self.response_codec.encoded(fields, _FIELDS_TAG))


class LaterReply:
    """What a handler returns in place of fields when its command takes longer.

    `resolve` is to be called once, after the handler has returned.
    """

    def __init__(self) -> None:
        self.on_resolved: Callable[[Mapping[str, Value] | None, float], None] | None = None

    def resolve(self, fields: Mapping[str, Value] | None, now: float) -> None:
        """Answer with the response's fields, or None for a plain status of success."""
        if self.on_resolved is None:
            raise RuntimeError("the handler has not returned yet")
        self.on_resolved(fields, now)


class ClusterServer(Cluster):
    """One cluster instance: the values of its attributes and its handlers.

    `features` are codes such as "PREF"; `optional` the CamelCase names of optional
    attributes, commands and events that are present; `values` the first values of
    attributes in snake_case. An attribute without value starts with its default, or
    null, zero or empty. Persisted values of non-volatile attributes take over in `attach`.

    `kept_elsewhere` are non-volatile attributes (snake_case) that whoever sets them keeps, and
    sets again after a restart.

    Raises ConfigError for features or names that the definition refuses, TypeError for a
    command or write without handler.
    """

    kept_elsewhere: frozenset[str] = frozenset()

    def __init__(
        self,
        definition: ClusterDefinition,
        *,
        features: Collection[str] = (),
        optional: Collection[str] = (),
        values: Mapping[str, Value] = {},
    ) -> None:
        self.definition = definition
        self.id = definition.id
        self.name = definition.name
        self.revision = definition.revision
        self.data_version = 0
        self.endpoint_id = -1
        self._environment: ClusterEnvironment | None = None
        selection = definition.select(features, optional)
        self.features = selection.features
        self._attributes = self._bind_attributes(selection, values)
        self._by_name = {a.key: a for a in self._attributes.values()}
        self.attributes = {a.entry.id: a.entry for a in self._attributes.values()}
        self._commands = self._bind_commands(selection)
        self.commands = {
            c.id: CommandEntry(
                id=c.id,
                invoke_privilege=c.invoke_privilege,
                response_id=self._commands[c.id].response_id,
                is_timed=c.is_timed,
                is_fabric_scoped=c.is_fabric_scoped,
            )
            for c in selection.accepted_commands
        }
        self._events: dict[str, tuple[EventDefinition, FieldsCodec]] = {
            e.name: (e, event_codec(e)) for e in selection.events
        }
        self.events = {
            e.id: EventEntry(e.id, e.priority, e.read_privilege, e.is_fabric_sensitive)
            for e in selection.events
        }

    def _bind_attributes(
        self, selection: Selection, values: Mapping[str, Value]
    ) -> dict[int, ServerAttribute]:
        handlers = handlers_of(type(self), self.definition)
        for name in values:
            self.definition.attribute(name)
        initial = dict(values) | {
            "feature_map": selection.feature_map,
            "cluster_revision": self.definition.revision,
            "attribute_list": [a.id for a in selection.attributes],
            "accepted_command_list": [c.id for c in selection.accepted_commands],
            "generated_command_list": [c.id for c in selection.generated_commands],
        }
        bound: dict[int, ServerAttribute] = {}
        for definition in selection.attributes:
            key = definition.key
            read = handlers.readers.get(key) or handlers.kept_readers.get(key)
            write = handlers.writers.get(key)
            attribute = ServerAttribute(
                definition,
                None if read is None else getattr(self, read),
                None if write is None else getattr(self, write),
                is_kept=key in handlers.kept_readers,
                is_stored=definition.is_nonvolatile and key not in self.kept_elsewhere,
            )
            if attribute.reader and definition.write_privilege is not None and write is None:
                raise TypeError(f"{type(self).__name__}: {key} has a reader but no writer")
            if attribute.reader is None:
                attribute.store(
                    deepcopy(initial[key]) if key in initial else definition.initial_value()
                )
            bound[definition.id] = attribute
        return bound

    def _bind_commands(self, selection: Selection) -> dict[int, _BoundCommand]:
        handlers = handlers_of(type(self), self.definition)
        responses = {response.name: response for response in selection.generated_commands}
        bound: dict[int, _BoundCommand] = {}
        for definition in selection.accepted_commands:
            handler = handlers.commands.get(definition.key)
            if handler is None:
                raise TypeError(f"{type(self).__name__} does not handle {definition.name}")
            check_fields(type(self).__name__, handler, definition)
            response = responses.get(definition.response or "")
            bound[definition.id] = _BoundCommand(
                handler=getattr(self, handler.method),
                codec=command_codec(definition),
                nullable=tuple(
                    field.key
                    for field in definition.fields
                    if field.is_optional and field.key not in handler.defaults
                ),
                response_id=None if response is None else response.id,
                response_codec=None if response is None else command_codec(response),
            )
        return bound

    # For subclasses and the rest of the node.

    @property
    def environment(self) -> ClusterEnvironment:
        """What the node provides; RuntimeError before `attach`."""
        if self._environment is None:
            raise RuntimeError(f"{self.name} is not attached")
        return self._environment

    def attach(self, endpoint_id: int, environment: ClusterEnvironment) -> None:
        """Put the instance on an endpoint: load persisted values, choose a data version."""
        self.endpoint_id = endpoint_id
        self._environment = environment
        self.data_version = int.from_bytes(environment.random_bytes(4), "little")
        for attribute in self._attributes.values():
            attribute.place(endpoint_id, self.id)
            if attribute.is_stored:
                data = environment.store.get(attribute.store_key)
                if data is not None and not attribute.load(data):
                    _LOGGER.warning("stored value %s does not fit any more", attribute.store_key)
        self.attached()

    def attached(self) -> None:
        """Do what needs the environment; called at the end of `attach`, to be overridden."""

    def has_feature(self, code: str) -> bool:
        """Return whether the feature with this code ("PREF") is on."""
        return code in self.features

    def has_attribute(self, name: str) -> bool:
        """Return whether this instance has the attribute (snake_case)."""
        return name in self._by_name

    def get(self, name: str) -> Value:
        """Return the stored value of an attribute; not to be changed in place.

        Raises KeyError for an attribute that this instance lacks or that a reader computes.
        """
        attribute = self._by_name[name]
        if attribute.reader is not None:
            raise KeyError(f"{name} is computed on each read")
        return attribute.value

    def set(self, **values: Value) -> None:
        """Store values; what changed is encoded, persisted if non-volatile, and reported.

        Names of attributes that this instance does not have are passed over if the
        definition knows them, so behaviour need not ask for each optional attribute.
        All values are stored or, if one does not fit its type (TypeError, ValueError,
        OverflowError), none.
        """
        self._store_values(values, is_reported=True)

    def set_quietly(self, **values: Value) -> None:
        """Store values like `set`, but leave it to `report` to tell subscribers.

        For attributes with quieter reporting.
        """
        self._store_values(values, is_reported=False)

    def report(self, *names: str) -> None:
        """Have attributes reported to subscribers (also those of readers)."""
        attributes = [self._by_name[name] for name in names if self._is_present(name)]
        if attributes:
            for attribute in attributes:
                attribute.forget()
            self._bump()
            self._notify(attributes)

    def emit(self, event: str, **fields: Value) -> None:
        """Record an event (CamelCase name) with its fields in snake_case.

        A fabric-sensitive event needs `fabric_index`. An optional event that this instance
        does not have is passed over.
        """
        bound = self._events.get(event)
        if bound is None:
            self.definition.event(event)
            return
        definition, codec = bound
        fabric_index = 0
        if definition.is_fabric_sensitive:
            value = fields[FABRIC_INDEX]
            assert isinstance(value, int)
            fabric_index = value
        self.environment.event_log.record(
            EventPath(self.endpoint_id, self.id, definition.id),
            definition.priority,
            codec.encoded(fields, _EVENT_DATA_TAG),
            fabric_index,
        )

    # For the interaction model.

    def encode_attribute(self, attribute_id: int, context: InteractionContext) -> bytes:
        """See `Cluster.encode_attribute`."""
        return self._attributes[attribute_id].encode(context)

    def encode_list_items(self, attribute_id: int, context: InteractionContext) -> Sequence[bytes]:
        """See `Cluster.encode_list_items`."""
        return self._attributes[attribute_id].encode_items(context)

    def write_attribute(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        """See `Cluster.write_attribute`."""
        attribute = self._attributes[attribute_id]
        self._write(attribute, attribute.decode(value, context), context)

    def append_list_item(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        """See `Cluster.append_list_item`."""
        attribute = self._attributes[attribute_id]
        self._write(attribute, attribute.decode_appended(value, context), context)

    def invoke(
        self, command_id: int, fields: TlvValue, context: InteractionContext
    ) -> CommandReply | DeferredReply | None:
        """See `Cluster.invoke`."""
        bound = self._commands[command_id]
        arguments = bound.codec.decode(fields)
        for key in bound.nullable:
            arguments.setdefault(key, None)
        reply = bound.handler(context, **arguments)
        if not isinstance(reply, LaterReply):
            return bound.reply(reply)
        deferred = DeferredReply()
        reply.on_resolved = lambda fields, now: deferred.answer(bound.reply(fields), now)
        return deferred

    # Values.

    def _is_present(self, name: str) -> bool:
        if name in self._by_name:
            return True
        self.definition.attribute(name)
        return False

    def _write(self, attribute: ServerAttribute, value: Value, context: InteractionContext) -> None:
        if attribute.writer is not None:
            attribute.writer(context, value)
        else:
            self.set(**{attribute.key: attribute.merged(value, context)})

    def _store_values(self, values: Mapping[str, Value], *, is_reported: bool) -> None:
        prepared: dict[ServerAttribute, tuple[Value, bytes]] = {}
        for name, value in values.items():
            attribute = self._by_name.get(name)
            if attribute is None:
                self.definition.attribute(name)  # ConfigError if it is misspelt
                continue
            encoded = attribute.changed_encoding(value)
            if encoded is not None:
                prepared[attribute] = value, encoded
        if not prepared:
            return
        environment = self._environment
        for attribute, (value, encoded) in prepared.items():
            attribute.store(value, encoded)
            if attribute.is_stored and environment is not None:
                environment.store.set(attribute.store_key, encoded)
        self._bump()
        if is_reported:
            self._notify(prepared)

    def _bump(self) -> None:
        self.data_version = (self.data_version + 1) & 0xFFFFFFFF

    def _notify(self, attributes: Iterable[ServerAttribute]) -> None:
        environment = self._environment
        if environment is None:
            return
        changed = environment.node.attribute_changed
        for attribute in attributes:
            if not attribute.entry.changes_omitted:
                changed(attribute.path)
