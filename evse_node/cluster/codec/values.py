"""Values of attributes and fields, taken for what their definition says they are.

The codec lets nothing else in, so the TypeError that all of these raise for another value
would be a defect of this node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evse_node.cluster.definitions.data_type import Value

_TEXTS = (str, bytes)


def integer(value: Value) -> int:
    """Return an integer, enum or bitmap."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


def integer_or_none(value: Value) -> int | None:
    """Return an integer, or None for null."""
    return None if value is None else integer(value)


def text(value: Value) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def octets(value: Value) -> bytes:
    """Return an octet string."""
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} is not an octet string")
    return value


def octets_or_none(value: Value) -> bytes | None:
    """Return an octet string, or None for null."""
    return None if value is None else octets(value)


def items(value: Value) -> Sequence[Value]:
    """Return the entries of a list."""
    if not isinstance(value, Sequence) or isinstance(value, _TEXTS):
        raise TypeError(f"{value!r} is not a list")
    return value


def integers(value: Value) -> tuple[int, ...]:
    """Return the entries of a list of integers."""
    return tuple(integer(item) for item in items(value))


def structs(value: Value) -> list[Mapping[str, Value]]:
    """Return the entries of a list of structs."""
    return [_struct(item) for item in items(value)]


def _struct(value: Value) -> Mapping[str, Value]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is not a struct")
    return value
