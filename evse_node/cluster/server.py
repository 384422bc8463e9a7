"""Cluster servers: behaviour bound to a definition.

A server class declares its attributes and holds their handlers; ids, types, ranges, access
and conformance come from the `ClusterDefinition`. Methods get their role from a decorator
and their element from their name in snake_case (or the name given to the decorator):

    @serves("Basic Information")
    class BasicInformationServer(ClusterServer):
        node_label: Attribute[str]
        serial_number: OptionalAttribute[str]

        @reader
        def reachable(self, context: InteractionContext) -> Value: ...

        @writer("node_label")
        def write_node_label(self, context: InteractionContext, value: str) -> None: ...

        @command
        def reset(self, context: InteractionContext, *, delay_s: int) -> None: ...

Spec: Matter Core 1.3 "Cluster"
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from evse_node.cluster.attribute import Attribute as Attribute
from evse_node.cluster.attribute import Encodings
from evse_node.cluster.attribute import OptionalAttribute as OptionalAttribute
from evse_node.cluster.binding import cached_reader as cached_reader
from evse_node.cluster.binding import command as command
from evse_node.cluster.binding import handlers_of
from evse_node.cluster.binding import reader as reader
from evse_node.cluster.binding import serves as serves
from evse_node.cluster.binding import writer as writer
from evse_node.cluster.codec.codec import FieldsCodec, event_codec
from evse_node.cluster.definitions.data_type import FABRIC_INDEX
from evse_node.cluster.definitions.data_type import Value as Value
from evse_node.cluster.definitions.definition import (
    ClusterDefinition,
    EventDefinition,
    Selection,
)
from evse_node.cluster.environment import ClusterEnvironment as ClusterEnvironment
from evse_node.cluster.environment import EventSink as EventSink
from evse_node.cluster.server_attribute import FabricScopedList, ServerAttribute
from evse_node.cluster.server_command import LaterReply as LaterReply
from evse_node.cluster.server_command import bind_commands
from evse_node.matter.data_model import (
    Cluster,
    CommandEntry,
    CommandReply,
    DeferredReply,
    EventEntry,
    EventPath,
    InteractionContext,
)
from evse_node.matter.tlv import TlvValue

_LOGGER: Final = logging.getLogger(__name__)

_EVENT_DATA_TAG = 7


class Changes:
    """The `with` block of `ClusterServer.changes`."""

    __slots__ = ("_is_reported", "_server")

    def __init__(self, server: ClusterServer, is_reported: bool) -> None:
        self._server = server
        self._is_reported = is_reported

    def __enter__(self) -> None:
        self._server.is_collecting = True

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        server = self._server
        pending, server.pending, server.is_collecting = server.pending, {}, False
        if kind is None and pending:
            server.apply(pending, is_reported=self._is_reported)


class ClusterServer(Cluster):
    """One cluster instance: the values of its attributes and its handlers.

    `features` are codes such as "PREF"; `optional` the CamelCase names of optional
    attributes, commands and events that are present. An attribute starts with its default,
    or null, zero or empty; a subclass assigns other first values in its constructor.
    `attach` replaces them by persisted values of non-volatile attributes.

    `not_persisted` are non-volatile attributes (snake_case) whose owner stores them elsewhere
    and assigns them again after a restart.

    Raises ConfigError for features or names that the definition refuses, TypeError for a
    command or write without handler or an `Attribute` that the instance would lack.
    """

    not_persisted: frozenset[str] = frozenset()

    def __init__(
        self,
        definition: ClusterDefinition,
        *,
        features: Collection[str] = (),
        optional: Collection[str] = (),
    ) -> None:
        self.definition = definition
        self.id = definition.id
        self.name = definition.name
        self.revision = definition.revision
        self.data_version = 0
        self.endpoint_id = -1
        self._environment: ClusterEnvironment | None = None
        self.pending: Encodings = {}
        self.is_collecting = False
        selection = definition.select(features, optional)
        self.features = selection.features
        self._attributes = self._bind_attributes(selection)
        self.attributes_by_key: Mapping[str, ServerAttribute] = {
            attribute.key: attribute for attribute in self._attributes.values()
        }
        self.attributes = {a.entry.id: a.entry for a in self._attributes.values()}
        handlers = handlers_of(type(self), definition)
        for key in sorted(handlers.required.difference(self.attributes_by_key)):
            definition.attribute(key)  # ConfigError if the definition lacks it
            raise TypeError(f"{type(self).__name__} lacks {key} here")
        self._commands = bind_commands(self, handlers, selection)
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

    def _bind_attributes(self, selection: Selection) -> dict[int, ServerAttribute]:
        handlers = handlers_of(type(self), self.definition)
        initial: dict[str, Value] = {
            "feature_map": selection.feature_map,
            "cluster_revision": self.definition.revision,
            "attribute_list": [a.id for a in selection.attributes],
            "accepted_command_list": [c.id for c in selection.accepted_commands],
            "generated_command_list": [c.id for c in selection.generated_commands],
        }
        bound: dict[int, ServerAttribute] = {}
        for definition in selection.attributes:
            key = definition.key
            read = handlers.readers.get(key) or handlers.cached_readers.get(key)
            write = handlers.writers.get(key)
            if read and definition.write_privilege is not None and write is None:
                raise TypeError(f"{type(self).__name__}: {key} has a reader but no writer")
            kind = FabricScopedList if definition.is_fabric_scoped else ServerAttribute
            is_stored = definition.is_nonvolatile and key not in self.not_persisted
            attribute = kind(
                definition,
                None if read is None else getattr(self, read),
                None if write is None else getattr(self, write),
                is_cached=key in handlers.cached_readers,
                is_stored=is_stored and read is None,
            )
            if read is None:
                attribute.store(initial[key] if key in initial else definition.initial_value())
            bound[definition.id] = attribute
        return bound

    # For subclasses and other parts of the node

    @property
    def environment(self) -> ClusterEnvironment:
        """The node's services; RuntimeError before `attach`."""
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
                    _LOGGER.warning("stored value %s no longer fits", attribute.store_key)
        self.attached()

    def attached(self) -> None:
        """Hook for initialization that needs the environment; called at the end of `attach`."""

    def has_feature(self, code: str) -> bool:
        """Return whether the feature with this code ("PREF") is on."""
        return code in self.features

    def changes(self, *, is_reported: bool = True) -> Changes:
        """Apply the assignments of a `with` block at its end, as one step of the data version.

        If one raises, none is applied. Until the end, attributes read as before. Without
        `is_reported` subscribers see the values only after `report`, for attributes with
        quieter reporting. Blocks do not nest.
        """
        return Changes(self, is_reported)

    def assign(self, attribute: ServerAttribute, value: Any) -> None:
        """Store a value, now or at the end of the running `changes` block."""
        encoded = attribute.changed_encoding(value)
        if not self.is_collecting:
            if encoded is not None:
                self.apply({attribute: (value, encoded)}, is_reported=True)
        elif encoded is not None:
            self.pending[attribute] = value, encoded
        else:
            self.pending.pop(attribute, None)

    def report(self, *names: str) -> None:
        """Report attributes to subscribers, computed ones too; absent ones are skipped."""
        attributes = self.invalidate(*names)
        if attributes:
            self._notify(attributes)

    def invalidate(self, *names: str) -> Sequence[ServerAttribute]:
        """Discard cached values of readers without a report; return the attributes present."""
        attributes = [self.attributes_by_key[name] for name in names if self._is_present(name)]
        for attribute in attributes:
            attribute.invalidate()
        if attributes:
            self._step_data_version()
        return attributes

    def emit(self, event: str, **fields: Value) -> None:
        """Record an event (CamelCase name) with its fields in snake_case.

        A fabric-sensitive event needs `fabric_index`. An optional event that this instance
        does not have is skipped.
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

    # For the interaction model

    def encode_attribute(self, attribute_id: int, context: InteractionContext) -> bytes:
        return self._attributes[attribute_id].encode(context)

    def encode_list_items(self, attribute_id: int, context: InteractionContext) -> Sequence[bytes]:
        return self._attributes[attribute_id].encode_items(context)

    def write_attribute(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        attribute = self._attributes[attribute_id]
        self._write(attribute, attribute.decode(value, context), context)

    def append_list_item(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        attribute = self._attributes[attribute_id]
        self._write(attribute, attribute.decode_appended(value, context), context)

    def invoke(
        self, command_id: int, fields: TlvValue, context: InteractionContext
    ) -> CommandReply | DeferredReply | None:
        return self._commands[command_id].invoke(fields, context)

    # Values

    def _is_present(self, name: str) -> bool:
        if name in self.attributes_by_key:
            return True
        self.definition.attribute(name)  # ConfigError if it is misspelt
        return False

    def _write(self, attribute: ServerAttribute, value: Value, context: InteractionContext) -> None:
        if attribute.writer is not None:
            attribute.writer(context, value)
        else:
            self.assign(attribute, attribute.merged(value, context))

    def apply(self, changed: Encodings, *, is_reported: bool) -> None:
        """Store values with their encodings as one step of the data version."""
        environment = self._environment
        for attribute, (value, encoded) in changed.items():
            attribute.store(value, encoded)
            if attribute.is_stored and environment is not None:
                environment.store.set(attribute.store_key, encoded)
        self._step_data_version()
        if is_reported:
            self._notify(changed)

    def _step_data_version(self) -> None:
        self.data_version = (self.data_version + 1) & 0xFFFFFFFF

    def _notify(self, attributes: Iterable[ServerAttribute]) -> None:
        environment = self._environment
        if environment is None:
            return
        changed = environment.node.attribute_changed
        for attribute in attributes:
            if not attribute.entry.changes_omitted:
                changed(attribute.path)
