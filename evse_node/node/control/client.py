"""Calls the control API of a running node; needs nothing but the standard library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from evse_node.config.setting_values import HostPort
from evse_node.errors import ConfigError, EvseNodeError
from evse_node.node.control.api import JsonObject, JsonValue, is_object

CONTROL_FILE: Final = "control.json"
# A factory reset may have to wait for hardware that does not answer.
_TIMEOUT_S: Final = 30.0


class ControlError(EvseNodeError):
    """The node cannot be reached, or refuses."""


class ParameterError(ControlError, ConfigError):
    """The node does not take what it was given."""


def write_control_file(folder: Path, address: HostPort) -> None:
    """Tell commands of the same user where the node of this storage folder listens."""
    file = folder / CONTROL_FILE
    text = json.dumps({"host": address.host, "port": address.port}) + "\n"
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def remove_control_file(folder: Path) -> None:
    """Undo `write_control_file`."""
    (folder / CONTROL_FILE).unlink(missing_ok=True)


def find_node(folder: Path) -> HostPort:
    """Return where the node of this storage folder listens.

    Raises ControlError when none has told.
    """
    file = folder / CONTROL_FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return HostPort(str(found["host"]), int(found["port"]))
    except FileNotFoundError:
        raise ControlError(_not_running(folder)) from None
    except OSError as error:
        raise ControlError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{file}: cannot be read ({error})") from None


def _not_running(folder: Path) -> str:
    return (
        f"no node runs on {folder}: start one with `evse-node run`, "
        "or name another by --storage DIR or --control HOST:PORT"
    )


class ControlClient:
    """Calls one node. `folder` is only named in the error when nobody answers."""

    def __init__(self, address: HostPort, folder: Path | None = None) -> None:
        self._address = address
        self._folder = folder

    def call(self, method: str, path: str, parameters: JsonObject | None = None) -> JsonObject:
        """Return the answer's JSON object.

        Raises ControlError.
        """
        # Dear to import, and the node itself needs only the file functions of this module.
        from http.client import BAD_REQUEST, OK, HTTPConnection, HTTPException, InvalidURL

        try:
            connection = HTTPConnection(self._address.host, self._address.port, timeout=_TIMEOUT_S)
        except InvalidURL:
            raise ControlError(f"{self._address} is no address") from None
        body = None if parameters is None else json.dumps(parameters)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except ConnectionRefusedError:
            known = self._folder
            message = f"nobody listens on {self._address}" if known is None else _not_running(known)
            raise ControlError(message) from None
        except UnicodeError:
            raise ControlError(f"{self._address} is no address") from None
        except (OSError, HTTPException) as error:
            # What is no HTTP is cited with its end of line.
            raise ControlError(f"{self._address} does not answer: {str(error).strip()}") from None
        finally:
            connection.close()
        answer = _parse(text)
        if answer is None:
            raise ControlError(f"{self._address} is no evse-node (HTTP {response.status})")
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
    return message if isinstance(message, str) else "the node refuses"
