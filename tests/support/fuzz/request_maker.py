"""Plausible requests for the clusters of a node, generated from their definitions."""

from __future__ import annotations

import random
from typing import NamedTuple

from evse_node.cluster.definitions.definition import FieldDefinition, Kind, ValueType
from evse_node.cluster.server import ClusterServer
from evse_node.matter.data_model import Node
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.tlv import SignedInt, TagKey, TlvValue
from tests.support.matter.interaction_client import (
    OK,
    Invoke,
    Path,
    Write,
    invoke_request,
    read_request,
    subscribe_request,
    write_request,
)


class Request(NamedTuple):
    """A message; with `is_timed` it follows a timed request."""

    opcode: int
    payload: bytes
    is_timed: bool = False


class RequestMaker:
    """Generator of valid requests from a seeded random source."""

    def __init__(self, source: random.Random, node: Node) -> None:
        self.random = source
        self._clusters: list[tuple[int, ClusterServer]] = []
        self._writable: list[tuple[Path, ValueType, bool]] = []
        self._commands: list[tuple[Path, tuple[FieldDefinition, ...], bool]] = []
        for endpoint in node.endpoints.values():
            for cluster in endpoint.clusters.values():
                assert isinstance(cluster, ClusterServer)
                self._clusters.append((endpoint.id, cluster))
                for number, attribute in cluster.attributes.items():
                    if attribute.write_privilege is not None:
                        definition = cluster.definition.attributes[number]
                        path = (endpoint.id, cluster.id, number)
                        is_timed = definition.is_timed_write
                        self._writable.append((path, definition.type, is_timed))
                for number in cluster.commands:
                    command = cluster.definition.commands[number]
                    path = (endpoint.id, cluster.id, number)
                    self._commands.append((path, command.fields, command.is_timed))

    def make(self) -> Request:
        """Return a request."""
        kind = self.random.random()
        if kind < 0.25:
            return Request(Opcode.READ_REQUEST, self._read())
        if kind < 0.4:
            return Request(Opcode.SUBSCRIBE_REQUEST, self._subscribe())
        if kind < 0.6 and self._writable:
            return self._write()
        if kind < 0.95:
            return self._invoke()
        return Request(Opcode.STATUS_RESPONSE, OK)

    def _events(self) -> list[Path]:
        endpoint, cluster = self.random.choice(self._clusters)
        everything: list[Path] = [(None, None, None)]
        one: list[Path] = [(endpoint, cluster.id, None)]
        none: list[Path] = []
        return self.random.choice((none, none, none, everything, one))

    def _read(self) -> bytes:
        return read_request(
            self._path(),
            events=self._events(),
            event_minimum=self.random.choice((None, None, 0, 5, 2**63)),
            fabric_filtered=self.random.random() < 0.7,
        )

    def _path(self) -> Path:
        endpoint, cluster = self.random.choice(self._clusters)
        kind = self.random.random()
        if kind < 0.05:
            return (None, None, self.random.choice((None, 0xFFFC)))
        if kind < 0.3:
            return (endpoint, cluster.id, None)
        return (endpoint, cluster.id, self.random.choice(list(cluster.attributes)))

    def _subscribe(self) -> bytes:
        return subscribe_request(
            self._path(),
            events=self._events(),
            minimum=self.random.choice((0, 1, 60)),
            maximum=self.random.choice((1, 60, 3600)),
            keep=self.random.random() < 0.7,
        )

    def _write(self) -> Request:
        path, value_type, is_timed = self.random.choice(self._writable)
        timed = is_timed or self.random.random() < 0.1
        write = Write(path, self.value(value_type), append=self.random.random() < 0.1)
        payload = write_request(write, timed=timed, more=self.random.random() < 0.05)
        return Request(Opcode.WRITE_REQUEST, payload, timed)

    def _invoke(self) -> Request:
        path, fields, is_timed = self.random.choice(self._commands)
        timed = is_timed or self.random.random() < 0.1
        suppress = self.random.random() < 0.05
        payload = invoke_request(Invoke(path, self.members(fields)), timed=timed, suppress=suppress)
        return Request(Opcode.INVOKE_REQUEST, payload, timed)

    # Values.

    def members(self, fields: tuple[FieldDefinition, ...]) -> dict[TagKey, TlvValue]:
        """Return the members of a struct or command, some optional ones included."""
        return {
            field.id: self.value(field.type)
            for field in fields
            if not field.is_optional or self.random.random() < 0.5
        }

    def value(self, value_type: ValueType) -> TlvValue:
        """Return a value of the type, preferably at its limits."""
        kind = value_type.kind
        if value_type.is_nullable and self.random.random() < 0.2:
            return None
        if kind is Kind.BOOLEAN:
            return self.random.random() < 0.5
        if kind is Kind.FLOAT:
            return self.random.random() * 100.0
        if kind in (Kind.STRING, Kind.OCTETS):
            return self._text(value_type)
        if kind is Kind.LIST:
            assert value_type.entry is not None
            most = min(value_type.max_length or 4, 4)
            count = self.random.randrange(most + 1)
            return [self.value(value_type.entry) for _ in range(count)]
        if kind is Kind.STRUCT:
            assert value_type.struct is not None
            return self.members(value_type.struct.fields)
        if kind is Kind.ENUM and value_type.enum is not None and value_type.enum.values:
            return self.random.choice(list(value_type.enum.values.values()))
        if kind is Kind.BITMAP and value_type.bitmap is not None:
            return self.random.getrandbits(64) & value_type.bitmap.mask
        return self._number(value_type)

    def _text(self, value_type: ValueType) -> TlvValue:
        least, most = value_type.min_length or 0, min(value_type.max_length or 40, 500)
        length = self.random.choice((least, most, self.random.randint(least, max(least, most))))
        if value_type.kind is Kind.STRING:
            return "x" * length
        return self.random.randbytes(length)

    def _number(self, value_type: ValueType) -> TlvValue:
        bits = 8 * value_type.size
        is_signed = value_type.kind is Kind.SIGNED
        least = -(1 << (bits - 1)) if is_signed else 0
        most = (1 << (bits - is_signed)) - 1 - (0 if is_signed else value_type.is_nullable)
        if value_type.minimum is not None:
            least = max(least, value_type.minimum)
        if value_type.maximum is not None:
            most = min(most, value_type.maximum)
        small = min(most, least + self.random.randrange(100))
        number = self.random.choice((least, small, small, most, self.random.randint(least, most)))
        return SignedInt(number) if is_signed else number
