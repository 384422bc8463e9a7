"""The table of operations: bodies are checked, and the OpenAPI document is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from evse_node.node.control.api import ApiError, JsonValue, Operation, Parameter, is_object, openapi
from evse_node.node.control.operations import OPERATIONS, SCHEMAS

TAP = next(each for each in OPERATIONS if each.path == "/sim/tap")
CAR = Operation(
    "POST",
    "/car",
    "",
    "Done",
    parameters=(
        Parameter("percent", "integer", "a number", minimum=0, maximum=100),
        Parameter("ready", "boolean", "whether"),
        Parameter("kind", "string", "a kind", choices=("a", "b")),
    ),
)


def references(value: JsonValue) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            if key == "$ref":
                assert isinstance(member, str)
                yield member
            else:
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def test_each_operation_is_described_and_each_reference_leads_somewhere() -> None:
    document = openapi(OPERATIONS, SCHEMAS)
    paths = document["paths"]
    assert is_object(paths)
    described = {
        (method.upper(), path)
        for path, methods in paths.items()
        if is_object(methods)
        for method in methods
    }
    assert described == {(each.method, each.path) for each in OPERATIONS}
    for reference in set(references(document)):
        target: JsonValue = document
        for step in reference.removeprefix("#/").split("/"):
            assert is_object(target)
            target = target[step]
        assert target
    assert json.loads(json.dumps(document)) == document
    assert document["openapi"] == "3.1.0"
    # Whatever goes wrong is told in the same way.
    assert all(
        is_object(method) and "default" in str(method["responses"])
        for methods in paths.values()
        if is_object(methods)
        for method in methods.values()
    )


def test_operation_ids_are_unique() -> None:
    ids = [each.id for each in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_every_number_has_both_limits() -> None:
    """A message says "give 0 to 100", and no number is too large to reckon with."""
    numbers = [
        parameter
        for operation in OPERATIONS
        for parameter in operation.parameters
        if parameter.kind == "integer"
    ]
    assert numbers
    for parameter in numbers:
        assert parameter.minimum is not None, parameter.name
        assert parameter.maximum is not None, parameter.name


def test_a_right_body_is_taken() -> None:
    assert TAP.read_body(b'{"uid": "04A1b2"}') == {"uid": "04A1b2"}
    assert CAR.read_body(b"") == {}
    assert CAR.read_body(b'{"percent": 100, "ready": true, "kind": "b"}') == {
        "percent": 100,
        "ready": True,
        "kind": "b",
    }


@pytest.mark.parametrize(
    ("operation", "body", "message"),
    [
        (TAP, b"{", "the body is not JSON"),
        (TAP, b"[" * 100_000, "the body is not JSON"),
        (TAP, b"[1]", "the body is not a JSON object"),
        (TAP, b"{}", "uid is missing: give the card's UID"),
        (TAP, b'{"uid": 5}', "uid: 5 cannot be used: give the card's UID"),
        (TAP, b'{"uid": "0"}', 'uid: "0" cannot be used'),
        (TAP, b'{"uid": "00\\n"}', 'uid: "00\\n" cannot be used'),
        (TAP, b'{"uid": "00", "x": 1}', "x: no such parameter; known are: uid"),
        (CAR, b'{"percent": 101}', "percent: 101 cannot be used: give 0 to 100"),
        (CAR, b'{"percent": true}', "percent: true cannot be used"),
        (CAR, b'{"ready": 1}', "ready: 1 cannot be used: give a JSON boolean"),
        (CAR, b'{"kind": "c"}', 'kind: "c" cannot be used: give one of a, b'),
    ],
)
def test_a_wrong_body_is_told(operation: Operation, body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        operation.read_body(body)
    assert str(caught.value).startswith(message)
    assert caught.value.status == 400
