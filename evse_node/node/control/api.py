"""The operations of the control API as one table; routes and OpenAPI follow from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeAlias, TypeGuard

from msgspec import Struct

from evse_node import __version__
from evse_node.errors import EvseNodeError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]

MAX_BODY: Final = 64 * 1024


class ApiError(EvseNodeError):
    """A request that cannot be served; becomes `{"error": {"code": …, "message": …}}`."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status

    def to_json(self) -> JsonObject:
        """Return the body of the answer."""
        code = self.status.phrase.lower().replace(" ", "-")
        return {"error": {"code": code, "message": str(self)}}


class Parameter(Struct, frozen=True):
    """One member of a request's JSON object."""

    name: str
    kind: str  # of JSON Schema: integer, string, boolean
    description: str
    is_required: bool = False
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    def schema(self) -> JsonObject:
        """Return the JSON Schema of the value."""
        limits: dict[str, JsonValue] = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "pattern": self.pattern,
            "enum": list(self.choices) or None,
        }
        given = {key: value for key, value in limits.items() if value is not None}
        return {"type": self.kind, "description": self.description, **given}

    def check(self, value: JsonValue) -> None:
        """Raise ApiError when the value cannot be used."""
        if not self._is_right(value):
            raise ApiError(
                HTTPStatus.BAD_REQUEST,
                f"{self.name}: {json.dumps(value)} cannot be used: give {self._right()}",
            )

    def _is_right(self, value: JsonValue) -> bool:
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "integer":
            return (
                isinstance(value, int)
                and not isinstance(value, bool)
                and (self.minimum is None or value >= self.minimum)
                and (self.maximum is None or value <= self.maximum)
            )
        return (
            isinstance(value, str)
            and (self.pattern is None or re.fullmatch(self.pattern, value) is not None)
            and (not self.choices or value in self.choices)
        )

    def _right(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is not None or self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        return self.description if self.pattern else f"a JSON {self.kind}"


class Operation(Struct, frozen=True):
    """One thing that the API can do. `schema` names the answer's schema in `SCHEMAS`."""

    method: str
    path: str
    summary: str
    schema: str
    parameters: tuple[Parameter, ...] = ()
    media_type: str = "application/json"
    is_simulation: bool = False

    @property
    def id(self) -> str:
        """Return the operation's name: the path without its first slash."""
        return self.path[1:].replace("/", ".")

    def read_body(self, body: bytes) -> dict[str, JsonValue]:
        """Return the checked parameters. Raises ApiError."""
        try:
            value: JsonValue = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
        if not is_object(value):
            raise ApiError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, member in value.items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise ApiError(
                    HTTPStatus.BAD_REQUEST, f"{name}: no such parameter; known are: {names}"
                )
            known[name].check(member)
        for parameter in self.parameters:
            if parameter.is_required and parameter.name not in value:
                raise ApiError(
                    HTTPStatus.BAD_REQUEST,
                    f"{parameter.name} is missing: give {parameter.description}",
                )
        return dict(value)


def is_object(value: JsonValue) -> TypeGuard[JsonObject]:
    """Return whether the value is a JSON object."""
    return isinstance(value, Mapping)


def openapi(operations: tuple[Operation, ...], schemas: JsonObject) -> JsonObject:
    """Return the OpenAPI 3.1 description of the operations."""
    paths: dict[str, dict[str, JsonValue]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evse-node control API",
            "version": __version__,
            "description": "Local control of one running node. It has no authentication of "
            "its own, and therefore listens on loopback unless told otherwise.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "The request cannot be served.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                }
            },
        },
    }


def _describe(operation: Operation) -> JsonObject:
    error: JsonObject = {"$ref": "#/components/responses/Error"}
    responses: dict[str, JsonValue] = {
        "200": {
            "description": "Done.",
            "content": {
                operation.media_type: {
                    "schema": {"$ref": f"#/components/schemas/{operation.schema}"}
                }
            },
        },
        "403": error,
        "default": error,
    }
    described: dict[str, JsonValue] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": ["simulation" if operation.is_simulation else "node"],
        "responses": responses,
    }
    if operation.method == "POST":
        responses["400"] = responses["415"] = error
        required: list[JsonValue] = [each.name for each in operation.parameters if each.is_required]
        schema: dict[str, JsonValue] = {
            "type": "object",
            "properties": {each.name: each.schema() for each in operation.parameters},
            "additionalProperties": False,
        }
        if required:
            schema["required"] = required
        described["requestBody"] = {
            "required": bool(required),
            "content": {"application/json": {"schema": schema}},
        }
    if operation.is_simulation:
        responses["409"] = error
    return described
