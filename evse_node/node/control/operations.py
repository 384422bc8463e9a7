"""Table of the control API's operations; routes and the OpenAPI document follow from it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from evse_node import __version__
from evse_node.config.reading import explain
from evse_node.node.control import messages
from evse_node.node.control.messages import ApiError

_SCHEMA: Final = "#/components/schemas/{name}"


class Operation(Struct, frozen=True):
    """One method on one path. `request` is the type of a POST body, None for GET."""

    path: str
    summary: str
    request: type[messages.Request] | None = None
    answer: type = messages.Status
    media_type: str = "application/json"

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return "GET" if self.request is None else "POST"

    @property
    def is_simulation(self) -> bool:
        """Whether only the simulated backend has it."""
        return self.request is not None and issubclass(self.request, messages.CarRequest)


OPERATIONS: Final = (
    Operation("/status", "Return the state of charger and node."),
    Operation(
        "/onboarding", "Return the codes to commission the node with.", answer=messages.Onboarding
    ),
    Operation(
        "/events",
        "Stream server-sent events: `status` at once and after each change, with the data of "
        "/status.",
        answer=str,
        media_type="text/event-stream",
    ),
    Operation("/openapi.json", "Return this description.", answer=dict),
    Operation(
        "/factory-reset",
        "Open the contactor, erase all fabrics and settings, and restart.",
        messages.FactoryReset,
        messages.Done,
    ),
    Operation("/surplus", "Set the solar surplus for modes that follow it.", messages.SetSurplus),
    Operation("/clear-faults", "Acknowledge faults whose cause has ended.", messages.ClearFaults),
    Operation("/sim/plug-in", "Plug the simulated car in.", messages.PlugIn),
    Operation("/sim/unplug", "Unplug the simulated car.", messages.Unplug),
    Operation("/sim/demand", "Let the car request energy.", messages.Demand),
    Operation("/sim/no-demand", "Let the car request no energy.", messages.NoDemand),
    Operation("/sim/tap", "Hold a card to the RFID reader.", messages.Tap),
    Operation("/sim/fault", "Make the hardware report a fault.", messages.ReportFault),
    Operation("/sim/clear-fault", "End the faults of the hardware.", messages.ClearFault),
    Operation("/sim/battery", "Set the car's battery or state of charge.", messages.SetBattery),
    Operation("/sim/temperature", "Set the board's temperature.", messages.SetTemperature),
    Operation("/sim/surplus", "Set the house's solar surplus.", messages.SetHouseSurplus),
    Operation("/sim/derate", "Limit the current, as hot hardware does.", messages.Derate),
)


def decode_request(body: bytes, to: type[messages.Request]) -> messages.Request:
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
    ordered = sorted(types | {messages.Error}, key=lambda kind: kind.__name__)
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
                    "content": {"application/json": {"schema": schema_of[messages.Error]}},
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
