"""Parsers of setting values, from text or from a configuration file.

A parser returns the value as the node uses it, and is given such a value as well. It raises
ValueError for a value that is not valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "enabled", "1"), True),
    **dict.fromkeys(("false", "no", "off", "disabled", "0"), False),
}


class HostPort(NamedTuple):
    """Address of a server. Port 0 is any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_integer(value: object) -> int:
    """Parse a whole number; text may be hexadecimal with 0x."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    if isinstance(value, int):
        return value
    text = value.strip().lower()
    if "_" in text:
        raise ValueError
    return int(text, 16 if text.startswith("0x") else 10)


def parse_boolean(value: object) -> bool:
    """Parse yes or no, and the other usual words for them, in any case."""
    if isinstance(value, bool):
        return value
    try:
        return _BOOLEANS[parse_name(value).lower()]
    except KeyError:
        raise ValueError from None


def parse_name(value: object) -> str:
    """Parse text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def parse_choice(value: object) -> str:
    """Parse a word, in any case."""
    return parse_name(value).lower()


def parse_passcode(value: object) -> int:
    """Parse a setup passcode, with or without dashes."""
    # Slow to import.
    from evse_node.matter.fabrics.onboarding import is_valid_passcode

    if isinstance(value, str):
        value = int(value.strip().replace("-", ""), 10)
    number = parse_integer(value)
    if not is_valid_passcode(number):
        raise ValueError
    return number


def parse_path(value: object) -> Path:
    """Parse a path, which may begin with ~."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # no such user, or one without a home folder
        raise ValueError from error


def parse_file(value: object) -> Path:
    """Parse the path of a file that exists."""
    path = parse_path(value)
    if not path.is_file():
        raise ValueError
    return path


def _parse_list(value: object) -> tuple[str, ...]:
    """Parse a list, or text with commas, and drop duplicates."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError
    words: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            raise ValueError
        words.extend(word.strip() for word in part.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def parse_interfaces(value: object) -> tuple[str, ...]:
    """Parse names of network interfaces."""
    names = _parse_list(value)
    # Empty text is an unset variable rather than a request for all interfaces.
    if value == "" or (value and not names):
        raise ValueError
    if any(len(name) > 15 or "/" in name or " " in name for name in names):
        raise ValueError
    return names


def parse_features(value: object) -> tuple[str, ...]:
    """Parse feature codes, or "none"."""
    codes = tuple(word.upper() for word in _parse_list(value))
    if codes == ("NONE",):
        return ()
    if isinstance(value, str) and not codes:
        raise ValueError
    return codes


def parse_dem_features(value: object) -> str:
    """Parse a feature map or list; "" is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value) if value else ""
    if not isinstance(value, str):
        raise ValueError
    return "" if value.strip().lower() in ("", "none", "off") else value.strip()


def parse_enable_key(value: object) -> bytes:
    """Parse the 16 bytes that enable test event triggers."""
    if isinstance(value, str):
        value = bytes.fromhex(value.strip().removeprefix("0x").removeprefix("hex:"))
    # All zeros means "no key set" in TestEventTriggersEnabled.
    if not isinstance(value, bytes) or len(value) != 16 or not any(value):
        raise ValueError
    return value


def parse_control(value: object) -> HostPort | None:
    """Parse the address of the control API; None is off."""
    if isinstance(value, HostPort):
        if not value.host:  # would listen on all interfaces
            raise ValueError
        host, port = value.host, parse_integer(value.port)
    elif not isinstance(value, str):
        raise ValueError
    elif value.strip().lower() in ("off", "none"):
        return None
    else:
        host, colon, number = value.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not colon or not host or "[" in host or "]" in host:
            raise ValueError
        port = parse_integer(number)
    if not 0 <= port <= 65535:
        raise ValueError
    return HostPort(host, port)


def parse_cards(value: object) -> tuple[bytes, ...]:
    """Parse UIDs of cards, 1 to 10 bytes each."""
    if isinstance(value, tuple) and value and all(isinstance(card, bytes) for card in value):
        cards = value
    else:
        cards = tuple(bytes.fromhex(card.replace(":", "")) for card in _parse_list(value))
    if not cards or not all(1 <= len(card) <= 10 for card in cards):
        raise ValueError
    return tuple(dict.fromkeys(cards))


def parse_waits(value: object) -> tuple[float, ...]:
    """Parse waits in seconds, or "none"."""
    if value == "none" or value == () or value == []:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError
    if any(isinstance(part, bool) or not isinstance(part, int | float | str) for part in parts):
        raise ValueError
    waits = tuple(float(part) for part in parts)
    if not all(1 <= wait <= 86_400 for wait in waits):
        raise ValueError
    return waits


def parse_time_zone(value: object) -> str:
    """Parse the name of a time zone that is installed."""
    # Not at the top: most nodes do without.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(parse_name(value)).key
    except (KeyError, OSError) as error:
        raise ValueError from error
