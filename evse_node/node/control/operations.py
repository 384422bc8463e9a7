"""Table of the control API's operations; routes and the OpenAPI document follow from it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from evse_node import __version__
from evse_node.config.reading import explain
from evse_node.node.control.messages import (
    ApiError,
    CarRequest,
    ClearFault,
    ClearFaults,
    Demand,
    Derate,
    Done,
    Error,
    FactoryReset,
    NoDemand,
    Onboarding,
    PlugIn,
    ReportFault,
    Request,
    SetBattery,
    SetHouseSurplus,
    SetSurplus,
    SetTemperature,
    Status,
    Tap,
    Unplug,
)

_SCHEMA: Final = "#/components/schemas/{name}"


class Operation(Struct, frozen=True):
    """One method on one path. `request` is the type of a POST body, None for GET."""

    path: str
    summary: str
    answer: type
    request: type[Request] | None = None
    media_type: str = "application/json"

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return "GET" if self.request is None else "POST"

    @property
    def is_simulation(self) -> bool:
        """Whether only the simulated backend has it."""
        return self.request is not None and issubclass(self.request, CarRequest)


OPERATIONS: Final = (
    Operation("/status", "Return the state of charger and node.", Status),
    Operation("/onboarding", "Return the codes to commission the node with.", Onboarding),
    Operation(
        "/events",
        "Stream server-sent events: `status` at once and after each change, with the data of "
        "/status.",
        str,
        media_type="text/event-stream",
    ),
    Operation("/openapi.json", "Return this description.", dict),
    Operation(
        "/factory-reset",
        "Open the contactor, erase all fabrics and settings, and restart.",
        Done,
        FactoryReset,
    ),
    Operation(
        "/surplus",
        "Report the solar surplus, which a mode with solar charging follows.",
        Status,
        SetSurplus,
    ),
    Operation(
        "/clear-faults", "Acknowledge faults. One whose cause persists stays.", Status, ClearFaults
    ),
    Operation("/sim/plug-in", "Plug the simulated car in.", Status, PlugIn),
    Operation("/sim/unplug", "Unplug the simulated car.", Status, Unplug),
    Operation("/sim/demand", "Let the car request energy.", Status, Demand),
    Operation("/sim/no-demand", "Let the car request no energy.", Status, NoDemand),
    Operation("/sim/tap", "Hold a card to the RFID reader.", Status, Tap),
    Operation("/sim/fault", "Make the hardware report a fault.", Status, ReportFault),
    Operation("/sim/clear-fault", "End the faults of the hardware.", Status, ClearFault),
    Operation("/sim/battery", "Set the car's battery or state of charge.", Status, SetBattery),
    Operation("/sim/temperature", "Set the board's temperature.", Status, SetTemperature),
    Operation("/sim/surplus", "Set the simulated house's solar surplus.", Status, SetHouseSurplus),
    Operation("/sim/derate", "Limit the current, as hot hardware does.", Status, Derate),
)


def decode_request(body: bytes, to: type[Request]) -> Request:
    """Return the request in a body. Raises ApiError that names member, value and remedy."""
    try:
        found = msgspec.json.decode(body if body.strip() else b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    try:
        return msgspec.convert(found, to)
    except msgspec.ValidationError as error:
        message = explain(error, found, to, is_json=True)
        raise ApiError(HTTPStatus.BAD_REQUEST, message) from None


def openapi() -> dict[str, object]:
    """Return the OpenAPI 3.1 description of all operations."""
    types = {kind for each in OPERATIONS for kind in (each.answer, each.request) if kind}
    ordered = sorted(types | {Error}, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_SCHEMA)
    schema_of = dict(zip(ordered, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evse-node control API",
            "version": __version__,
            "description": "Local control of one running node. It has no authentication, and "
            "listens on loopback by default.",
        },
        "paths": {
            each.path: {each.method.lower(): _describe(each, schema_of)} for each in OPERATIONS
        },
        "components": {
            "schemas": components,
            "responses": {
                "Error": {
                    "description": "The request cannot be served.",
                    "content": {"application/json": {"schema": schema_of[Error]}},
                }
            },
        },
    }


def _describe(operation: Operation, schema_of: dict[type, dict[str, Any]]) -> dict[str, object]:
    error = {"$ref": "#/components/responses/Error"}
    responses: dict[str, object] = {
        "200": {
            "description": "Done.",
            "content": {operation.media_type: {"schema": schema_of[operation.answer]}},
        },
        "403": error,
        "default": error,
    }
    described: dict[str, object] = {
        "operationId": operation.path[1:].replace("/", "."),
        "summary": operation.summary,
        "tags": ["simulation" if operation.is_simulation else "node"],
        "responses": responses,
    }
    if operation.request is not None:
        responses["400"] = responses["415"] = error
        fields = msgspec.structs.fields(operation.request)
        described["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": {"application/json": {"schema": schema_of[operation.request]}},
        }
    if operation.is_simulation:
        responses["409"] = error
    return described
