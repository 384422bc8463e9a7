"""The table of operations: bodies are checked, and the OpenAPI document is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from evse_node.node.control.messages import (
    ApiError,
    Derate,
    FactoryReset,
    Request,
    SetBattery,
    SetSurplus,
    SetTemperature,
    Tap,
)
from evse_node.node.control.operations import OPERATIONS, decode_request, openapi
from tests.support.journal_node import status


class Document(msgspec.Struct):
    openapi: str
    paths: dict[str, dict[str, dict[str, object]]]
    components: dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def document() -> Document:
    return msgspec.convert(openapi(), Document)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key == "$ref":
                yield member
            else:
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def test_openapi_describes_every_operation(document: Document) -> None:
    described = {
        (method.upper(), path) for path, methods in document.paths.items() for method in methods
    }
    assert described == {(each.method, each.path) for each in OPERATIONS}
    assert document.openapi == "3.1.0"
    # All errors have one form.
    assert all(
        "default" in str(method["responses"])
        for methods in document.paths.values()
        for method in methods.values()
    )


def test_every_reference_of_openapi_resolves(document: Document) -> None:
    found = set(references(openapi()))
    assert "#/components/schemas/Status" in found
    for reference in found:
        _, components, group, name = reference.split("/")
        assert components == "components"
        assert document.components[group][name]
    assert json.loads(msgspec.json.encode(openapi())) == openapi()


CHARGER_MEMBERS = [
    "state",
    "supply_state",
    "fault",
    "faults",
    "control_pilot",
    "pilot_output",
    "offered_ma",
    "contactor",
    "is_locked",
    "is_held",
    "is_card_awaited",
    "is_closing_limited",
    "charging_enabled",
    "discharging_enabled",
    "charge_limit_ma",
    "charge_limit_source",
    "charge_limits_ma",
    "discharge_limits_ma",
    "vehicle",
    "next_charge",
    "session",
    "meter",
]
NODE_MEMBERS = [
    "version",
    "backend",
    "storage",
    "port",
    "host",
    "interfaces",
    "commissioning_window",
    "fabrics",
]


def test_members_of_the_status_are_those_that_clients_read(document: Document) -> None:
    found = msgspec.json.decode(msgspec.json.encode(status([])), type=dict[str, Any])
    assert list(found) == ["charger", "simulation", "node"]
    assert list(found["charger"]) == CHARGER_MEMBERS
    assert list(found["node"]) == NODE_MEMBERS
    schemas = document.components["schemas"]
    for name, members in (("ChargerStatus", CHARGER_MEMBERS), ("NodeStatus", NODE_MEMBERS)):
        schema = msgspec.convert(schemas[name], dict[str, Any])
        assert schema["required"] == members


def test_operation_ids_are_unique(document: Document) -> None:
    ids = [each["operationId"] for methods in document.paths.values() for each in methods.values()]
    assert len(set(ids)) == len(ids)
    assert "sim.plug-in" in ids


def test_every_number_of_a_request_has_both_limits() -> None:
    """An error message gives "0 to 100", and no number is too large to calculate with."""
    requests = [each.request for each in OPERATIONS if each.request is not None]
    _, schemas = msgspec.json.schema_components(requests)
    numbers = [
        number
        for schema in schemas.values()
        for member in schema["properties"].values()
        for number in member.get("anyOf", [member])
        if number["type"] in ("integer", "number")
    ]
    assert len(numbers) == 7
    for number in numbers:
        assert f"{number['minimum']} to {number['maximum']}" in number["description"]


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (b'{"uid": "04A1b2"}', Tap("04A1b2")),
        (b"", FactoryReset()),
        (b" \n", Derate()),
        (b'{"soc_percent": 100}', SetBattery(soc_percent=100)),
        (b'{"watts": 0, "seconds": 86400}', SetSurplus(watts=0, seconds=86_400)),
        (b'{"watts": -500}', SetSurplus(watts=-500)),
        (b'{"watts": 2999.6}', SetSurplus(watts=2_999.6)),
        (b'{"celsius": -40}', SetTemperature(-40)),
    ],
)
def test_valid_body_is_decoded(body: bytes, request_: Request) -> None:
    assert decode_request(body, type(request_)) == request_


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (Tap, b"{", "the body is not JSON"),
        (Tap, b"[" * 100_000, "the body is not JSON"),
        (Tap, b'{"uid": "\xff"}', "the body is not JSON"),
        (Tap, b"[1]", "the body is not a JSON object"),
        (Tap, b"{}", "uid is missing: give the card's UID"),
        (Tap, b"", "uid is missing: give the card's UID"),
        (Tap, b'{"uid": 5}', "uid: 5 cannot be used: give the card's UID"),
        (Tap, b'{"uid": "0"}', 'uid: "0" cannot be used'),
        (Tap, b'{"uid": "00\\n"}', 'uid: "00\\n" cannot be used'),
        (Tap, b'{"uid": "00", "x": 1}', "x: no such key; known keys are uid"),
        (SetBattery, b'{"soc_percent": 101}', "soc_percent: 101 cannot be used: give 0 to 100"),
        (SetBattery, b'{"soc_percent": true}', "soc_percent: true cannot be used: give 0 to 100"),
        (SetBattery, b'{"soc_percent": 1.5}', "soc_percent: 1.5 cannot be used: give 0 to 100"),
        (SetSurplus, b'{"watts": "1"}', 'watts: "1" cannot be used: give -1000000 to 1000000 W'),
        (Derate, b'{"current_ma": -1}', "current_ma: -1 cannot be used: give 0 to 80000 mA"),
        (FactoryReset, b'{"sure": true}', "sure: no such key"),
    ],
)
def test_invalid_body_is_rejected_with_key_value_and_remedy(
    kind: type[Request], body: bytes, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        decode_request(body, kind)
    assert str(caught.value).startswith(message)
    assert caught.value.status == 400
