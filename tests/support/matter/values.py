"""Checked views of decoded values, whose static type is a union."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evse_node.cluster.server import Value
from evse_node.matter.tlv import TlvValue


def as_int(value: Value | TlvValue) -> int:
    assert isinstance(value, int)
    return int(value)


def as_struct(value: Value) -> Mapping[str, Value]:
    assert isinstance(value, Mapping)
    return value


def as_structs(value: Value) -> list[Mapping[str, Value]]:
    assert isinstance(value, Sequence)
    assert not isinstance(value, str | bytes)
    return [as_struct(item) for item in value]
