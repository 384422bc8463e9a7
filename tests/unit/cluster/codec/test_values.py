from collections.abc import Callable

import pytest

from evse_node.cluster.codec.values import (
    integer,
    integer_or_none,
    integers,
    items,
    octets,
    octets_or_none,
    structs,
    text,
)
from evse_node.cluster.definitions.definition import Value

TAKEN: list[tuple[Callable[[Value], object], Value, object]] = [
    (integer, 7, 7),
    (integer_or_none, 7, 7),
    (integer_or_none, None, None),
    (text, "a", "a"),
    (octets, b"a", b"a"),
    (octets_or_none, b"", b""),
    (octets_or_none, None, None),
    (items, [1, "a"], [1, "a"]),
    (integers, [1, 2], (1, 2)),
    (structs, [{"a": 1}, {}], [{"a": 1}, {}]),
]


@pytest.mark.parametrize(("take", "value", "expected"), TAKEN)
def test_what_is_taken(take: Callable[[Value], object], value: Value, expected: object) -> None:
    assert take(value) == expected


@pytest.mark.parametrize(
    ("take", "values"),
    [
        (integer, ["a", b"a", None, 1.5, [1]]),
        (integer_or_none, ["a", []]),
        (text, [b"a", 1, None, ["a"]]),
        (octets, ["a", None, [1]]),
        (octets_or_none, ["a", 1]),
        (items, ["ab", b"ab", None, 1, {"a": 1}]),
        (integers, [1, ["a"], [None]]),
        (structs, [{"a": 1}, "a", [1], [None], [["a"]]]),
    ],
)
def test_what_is_refused(take: Callable[[Value], object], values: list[Value]) -> None:
    for value in values:
        with pytest.raises(TypeError):
            take(value)
