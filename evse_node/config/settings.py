"""Settings as the fields of a Struct declare them.

    port: Annotated[int, Meta(ge=0, le=65535), Option("UDP port", "N")] = 5540

is the flag `--port`, the environment variable `EVSE_NODE_PORT` and the TOML key `port`. A type
may say in `Meta(description=…)` what a valid value is, where it does not follow from the type.
Fields without an `Option` are no settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Final, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from evse_node.config.values import parse_boolean, parse_choice, parse_integer, parse_path
from evse_node.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "EVSE_NODE_"

Parser = Callable[[object], object]


class Option(Struct, frozen=True):
    """Declaration of a setting beside its type and default.

    `metavar` may be left out for choices. `default` describes a default that is not a constant,
    `key` is the setting's name where it is not that of the field, and `parse` is required for
    types other than whole numbers, paths, booleans and Literals.
    """

    help: str
    metavar: str = ""
    default: str = ""
    key: str = ""
    parse: Parser | None = None
    is_hexadecimal: bool = False
    is_secret: bool = False


class Setting(Struct, frozen=True):
    """A setting of a node. `default` is text for people."""

    field: str
    key: str
    metavar: str
    help: str
    default: str
    choices: tuple[str, ...]
    type: object
    parse: Parser
    is_optional: bool
    is_path: bool
    is_secret: bool

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper().replace("-", "_")

    @property
    def expected(self) -> str:
        """Description of a valid value."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        # Slow to import, and needed for errors and documentation only.
        from evse_node.config.reading import expected

        return expected(self.type)

    def convert(self, value: object, source: str) -> object:
        """Return the value as the node uses it. Raises ConfigError with one line."""
        if value is None and self.is_optional:
            return None
        try:
            return msgspec.convert(self.parse(value), cast("type[object]", self.type))
        except ValueError:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            raise ConfigError(f"{source}: '{shown}' cannot be used: give {self.expected}") from None


_PARSERS: Final[Mapping[object, Parser]] = {
    bool: parse_boolean,
    int: parse_integer,
    Literal: parse_choice,
    Path: parse_path,
}


def settings_of(declaration: type[Struct]) -> tuple[Setting, ...]:
    """Return the settings that the fields of a Struct declare."""
    return tuple(
        _setting(field, option)
        for field in fields(declaration)
        for option in get_args(field.type)
        if isinstance(option, Option)
    )


def _setting(field: FieldInfo, option: Option) -> Setting:
    kinds = _kinds(field.type)
    choices = get_args(get_args(field.type)[0]) if kinds == [Literal] else ()
    return Setting(
        field=field.name,
        key=option.key or field.name.replace("_", "-"),
        metavar=option.metavar or "|".join(choices or ("yes", "no")),
        help=option.help,
        default=option.default or _default(field.default, option.is_hexadecimal),
        choices=choices,
        type=field.type,
        parse=option.parse or _PARSERS[kinds[0]],
        is_optional=NoneType in kinds,
        is_path=Path in kinds,
        is_secret=option.is_secret,
    )


def _kinds(annotation: object) -> list[object]:
    """Return the types that a value may have, without annotations; of Literal just that."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation if origin is None else origin]


def _default(value: object, is_hexadecimal: bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"0x{value:04X}" if is_hexadecimal else str(value)
