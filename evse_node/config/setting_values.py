"""How the values of settings are read, from text or from a configuration file.

A reader returns the value as it is used, and raises ValueError for one that is not right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from evse_node.cluster.definitions.revision import revision_names
from evse_node.matter.fabrics.onboarding import MAX_PASSCODE, is_valid_passcode

FEATURES: Final = ("PREF", "SOC", "PNC", "RFID", "V2X")


class HostPort(NamedTuple):
    """Where the control API listens. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return what reads a number from `low` to `high`; text may be hexadecimal with 0x."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        if isinstance(value, str):
            text = value.strip().lower()
            if "_" in text:
                raise ValueError
            value = int(text, 16 if text.startswith("0x") else 10)
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def read_passcode(value: object) -> int:
    """Read a setup passcode, with or without dashes."""
    text = value.strip().replace("-", "") if isinstance(value, str) else value
    if isinstance(text, str):
        text = int(text, 10)
    number = integer(1, MAX_PASSCODE)(text)
    if not is_valid_passcode(number):
        raise ValueError
    return number


def read_path(value: object) -> Path:
    """Read a path, which may begin with ~."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # a home folder that nobody knows
        raise ValueError from error


def read_file(value: object) -> Path:
    """Read the path of a file that exists."""
    path = read_path(value)
    if not path.is_file():
        raise ValueError
    return path


def _words(value: object) -> tuple[str, ...]:
    """Read a list, or text with commas; each word counts once."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError
    words: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            raise ValueError
        words.extend(word.strip() for word in part.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def read_interfaces(value: object) -> tuple[str, ...]:
    """Read names of network interfaces."""
    names = _words(value)
    # Text without a name is a variable that was not set, rather than a wish for all.
    if value == "" or (value and not names):
        raise ValueError
    if any(len(name) > 15 or "/" in name or " " in name for name in names):
        raise ValueError
    return names


def read_features(value: object) -> tuple[str, ...]:
    """Read feature codes, or "none"."""
    codes = tuple(word.upper() for word in _words(value))
    if codes == ("NONE",):
        return ()
    if isinstance(value, str) and not codes:
        raise ValueError
    if any(code not in FEATURES for code in codes):
        raise ValueError
    return codes


def read_name(value: object) -> str:
    """Read text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def one_of(*names: str) -> Callable[[object], str]:
    """Return what reads one of these names, in any case."""

    def read(value: object) -> str:
        name = read_name(value).lower()
        if name not in names:
            raise ValueError
        return name

    return read


def read_management(value: object) -> str:
    """Read a feature map or list; "" is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value) if value else ""
    if not isinstance(value, str):
        raise ValueError
    return "" if value.strip().lower() in ("", "none", "off") else value.strip()


def read_matter_version(value: object) -> str:
    """Read the name of a version of Matter."""
    return one_of(*revision_names())(value)


def read_enable_key(value: object) -> bytes:
    """Read the 16 bytes that allow test event triggers."""
    if isinstance(value, bytes):
        key = value
    elif isinstance(value, str):
        key = bytes.fromhex(value.strip().removeprefix("0x").removeprefix("hex:"))
    else:
        raise ValueError
    # All zeros stands for "no key set" in TestEventTriggersEnabled.
    if len(key) != 16 or not any(key):
        raise ValueError
    return key


def read_control(value: object) -> HostPort | None:
    """Read where the control API listens; None is off."""
    if isinstance(value, HostPort):
        if not value.host:  # would listen everywhere
            raise ValueError
        return HostPort(value.host, integer(0, 65535)(value.port))
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if text.lower() in ("off", "none"):
        return None
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or "[" in host or "]" in host:
        raise ValueError
    return HostPort(host, integer(0, 65535)(port))


def read_cards(value: object) -> tuple[str, ...]:
    """Read UIDs of cards, as lower case hexadecimal digits."""
    cards = tuple(card.lower().replace(":", "") for card in _words(value))
    if not cards or not all(1 <= len(bytes.fromhex(card)) <= 10 for card in cards):
        raise ValueError
    return cards


def read_time_zone(value: object) -> str:
    """Read the name of a time zone that the system knows."""
    # Not at the top: most nodes do without.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(read_name(value)).key
    except (KeyError, OSError) as error:
        raise ValueError from error
