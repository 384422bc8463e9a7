"""Client for the control API of a running node, with the standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias, TypeGuard

from msgspec import Struct

from evse_node.config.values import HostPort
from evse_node.errors import ConfigError, EvseNodeError
from evse_node.platform.control_file import CONTROL_FILE, read_control_file

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]

# A factory reset may wait for hardware that does not answer.
_TIMEOUT_S: Final = 30.0


class ControlError(EvseNodeError):
    """The node cannot be reached, or rejects the request."""


class ParameterError(ControlError, ConfigError):
    """The node rejects a parameter of the request."""


def is_object(value: JsonValue) -> TypeGuard[JsonObject]:
    """Return whether the value is a JSON object."""
    return isinstance(value, Mapping)


def find_node(folder: Path) -> HostPort:
    """Return the address of the node that runs on this storage folder.

    Raises ControlError if none runs, or its file cannot be read.
    """
    file = folder / CONTROL_FILE
    try:
        return read_control_file(folder)
    except FileNotFoundError:
        raise ControlError(_not_running(folder)) from None
    except OSError as error:
        raise ControlError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ControlError(f"{file}: cannot be read ({error})") from None


def _not_running(folder: Path) -> str:
    return (
        f"no node runs on {folder}: start one with `evse-node run`, "
        "or name another by --storage DIR or --control HOST:PORT"
    )


class ControlClient(Struct, eq=False):
    """Client of one node. `folder` appears only in the error for a node that is not running."""

    address: HostPort
    folder: Path | None = None

    def call(self, method: str, path: str, parameters: JsonObject | None = None) -> JsonObject:
        """Send a request and return the JSON object of the response. Raises ControlError."""
        # Slow to import.
        from http.client import BAD_REQUEST, OK, HTTPConnection, HTTPException, InvalidURL

        try:
            connection = HTTPConnection(self.address.host, self.address.port, timeout=_TIMEOUT_S)
        except InvalidURL:
            raise ControlError(f"{self.address} is not an address") from None
        body = None if parameters is None else json.dumps(parameters)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except ConnectionRefusedError:
            if self.folder is not None:
                raise ControlError(_not_running(self.folder)) from None
            raise ControlError(f"no node listens on {self.address}") from None
        except UnicodeError:
            raise ControlError(f"{self.address} is not an address") from None
        except (OSError, HTTPException) as error:
            # The message quotes a line that is not HTTP, with its line break.
            raise ControlError(f"{self.address} does not answer: {str(error).strip()}") from None
        finally:
            connection.close()
        answer = _parse(text)
        if answer is None:
            raise ControlError(f"{self.address} is not an evse-node (HTTP {response.status})")
        if response.status == BAD_REQUEST:
            raise ParameterError(_message(answer))
        if response.status != OK:
            raise ControlError(_message(answer))
        return answer


def _parse(text: bytes) -> JsonObject | None:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return None
    return value if is_object(value) else None


def _message(answer: JsonObject) -> str:
    error = answer.get("error")
    message = error.get("message") if error is not None and is_object(error) else None
    return message if isinstance(message, str) else "the node rejects the request"
