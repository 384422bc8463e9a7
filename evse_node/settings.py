"""The table of settings: for each key how its text is read and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from evse_node.cluster.revision import revision_names
from evse_node.errors import ConfigError
from evse_node.matter.onboarding import MAX_DISCRIMINATOR, MAX_PASSCODE, is_valid_passcode

ENVIRONMENT_PREFIX: Final = "EVSE_NODE_"
CLOCKS: Final = ("system", "matter")
SUPPLY: Final = ("disabled", "enabled")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
FEATURES: Final = ("PREF", "SOC", "PNC", "RFID", "V2X")


class HostPort(NamedTuple):
    """Where the control API listens. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Setting(NamedTuple):
    """One key: its name as a flag, its field in NodeConfig, how to read it, what is right.

    `metavar` and `help` are for the command line; the help says the default in brackets.
    """

    key: str
    field: str
    read: Callable[[object], object]
    right: str
    metavar: str
    help: str

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper().replace("-", "_")

    def check(self, value: object, source: str) -> object:
        """Return the value as it is used. Raises ConfigError with one line."""
        try:
            return self.read(value)
        except ValueError:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            raise ConfigError(f"{source}: '{shown}' cannot be used: give {self.right}") from None


def _integer(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        if isinstance(value, str):
            text = value.strip().lower()
            value = int(text, 16 if text.startswith("0x") else 10)
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def _passcode(value: object) -> int:
    text = value.strip().replace("-", "") if isinstance(value, str) else value
    if isinstance(text, str):
        text = int(text, 10)
    number = _integer(1, MAX_PASSCODE)(text)
    if not is_valid_passcode(number):
        raise ValueError
    return number


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # a home folder that nobody knows
        raise ValueError from error


def _file(value: object) -> Path:
    path = _path(value)
    if not path.is_file():
        raise ValueError
    return path


def _words(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError
    words: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            raise ValueError
        words.extend(word.strip() for word in part.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def _interfaces(value: object) -> tuple[str, ...]:
    names = _words(value)
    if any(len(name) > 15 or "/" in name or " " in name for name in names):
        raise ValueError
    return names


def _features(value: object) -> tuple[str, ...]:
    codes = tuple(word.upper() for word in _words(value))
    if codes == ("NONE",):
        return ()
    if any(code not in FEATURES for code in codes):
        raise ValueError
    return codes


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def _one_of(*names: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        name = _name(value).lower()
        if name not in names:
            raise ValueError
        return name

    return read


def _management(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value) if value else ""
    if not isinstance(value, str):
        raise ValueError
    return "" if value.strip().lower() in ("", "none", "off") else value.strip()


def _matter_version(value: object) -> str:
    return _one_of(*revision_names())(value)


def _enable_key(value: object) -> bytes:
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


def _control(value: object) -> HostPort | None:
    if isinstance(value, HostPort):
        if not value.host:  # would listen everywhere
            raise ValueError
        return HostPort(value.host, _integer(0, 65535)(value.port))
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if text.lower() in ("off", "none"):
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host:
        raise ValueError
    return HostPort(host, _integer(0, 65535)(port))


def _cards(value: object) -> tuple[str, ...]:
    cards = tuple(card.lower().replace(":", "") for card in _words(value))
    if not cards or not all(1 <= len(bytes.fromhex(card)) <= 10 for card in cards):
        raise ValueError
    return cards


def _time_zone(value: object) -> str:
    # Not at the top: most nodes do without.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(_name(value)).key
    except (KeyError, OSError) as error:
        raise ValueError from error


_CERTIFICATE: Final = "a certificate file (DER or PEM) that exists"

SETTINGS: Final = (
    Setting(
        "storage",
        "storage",
        _path,
        "a folder",
        "DIR",
        "folder that keeps the state (~/.local/state/evse-node)",
    ),
    Setting(
        "port",
        "port",
        _integer(0, 65535),
        "0 to 65535 (0 chooses a free port)",
        "N",
        "UDP port (5540; 0: any free one)",
    ),
    Setting(
        "discriminator",
        "discriminator",
        _integer(0, MAX_DISCRIMINATOR),
        "0 to 4095",
        "N",
        "0 to 4095 (drawn once, then kept)",
    ),
    Setting(
        "passcode",
        "passcode",
        _passcode,
        "1 to 99999998, but no repeated digit, 12345678 or 87654321",
        "N",
        "setup passcode (drawn once, then kept)",
    ),
    Setting(
        "interface",
        "interfaces",
        _interfaces,
        "names of network interfaces, like eth0",
        "NAME",
        "network interface; may be repeated (all but loopback)",
    ),
    Setting(
        "backend",
        "backend",
        _name,
        "the name of a hardware backend",
        "NAME",
        "hardware (simulated)",
    ),
    Setting(
        "device",
        "device",
        _name,
        "a serial port like /dev/ttyUSB0",
        "PORT",
        "serial port of an EVSE controller, which goes before port in [hal] (none)",
    ),
    Setting(
        "features",
        "features",
        _features,
        f"a list of {', '.join(FEATURES)} (or none)",
        "LIST",
        f"some of {','.join(FEATURES)}, or none (all that the hardware can do)",
    ),
    Setting(
        "charging",
        "charging",
        _one_of(*SUPPLY),
        f"one of {', '.join(SUPPLY)}",
        "NAME",
        "whether a new charger may charge before a controller allows it: enabled or disabled "
        "(disabled)",
    ),
    Setting(
        "circuit-capacity",
        "circuit_capacity_a",
        _integer(6, 80),
        "6 to 80 amperes",
        "A",
        "amperes that the installation carries (32)",
    ),
    Setting(
        "user-maximum",
        "user_maximum_a",
        _integer(0, 80),
        "0 to 80 amperes",
        "A",
        "the user's limit in amperes until another is set over Matter (80)",
    ),
    Setting(
        "ventilation",
        "ventilation",
        _one_of("yes", "no"),
        "yes or no",
        "yes|no",
        "whether vehicles that need ventilation may charge here (no)",
    ),
    Setting(
        "cards",
        "cards",
        _cards,
        "UIDs of 1 to 10 bytes as hexadecimal digits, separated by commas",
        "LIST",
        "RFID cards, of which one has to be shown before energy flows (none is needed)",
    ),
    Setting(
        "time-zone",
        "time_zone",
        _time_zone,
        "a name like Europe/Berlin",
        "NAME",
        "where charging targets count until it is set over Matter (that of the system)",
    ),
    Setting(
        "dem-features",
        "dem_features",
        _management,
        "a feature map like 0x7B, a list like PA,PFR,FA, or none",
        "MAP",
        "features of Device Energy Management, as map or list, or none (0x7B)",
    ),
    Setting(
        "matter-version",
        "matter_version",
        _matter_version,
        f"one of {', '.join(revision_names())}",
        "NAME",
        f"version of Matter, one of {', '.join(revision_names())} (1.3)",
    ),
    Setting(
        "enable-key",
        "enable_key",
        _enable_key,
        "32 hexadecimal digits, not all zero",
        "HEX",
        "16 bytes that allow test event triggers (none)",
    ),
    Setting(
        "control",
        "control",
        _control,
        "HOST:PORT (port 0 chooses one) or off",
        "HOST:PORT",
        "local control API (127.0.0.1:0), or off",
    ),
    Setting(
        "cluster-xml",
        "cluster_xml",
        _path,
        "a ZAP XML file",
        "FILE",
        "cluster definition that goes before the shipped one",
    ),
    Setting(
        "clock",
        "clock",
        _one_of(*CLOCKS),
        f"one of {', '.join(CLOCKS)}",
        "NAME",
        "whose time counts: that of the system, or only what comes over Matter (system)",
    ),
    Setting(
        "log-level",
        "log_level",
        _one_of(*LOG_LEVELS),
        f"one of {', '.join(LOG_LEVELS)}",
        "NAME",
        f"{', '.join(LOG_LEVELS)} (info)",
    ),
    Setting(
        "vendor-id",
        "vendor_id",
        _integer(1, 0xFFF4),
        "0x0001 to 0xFFF4",
        "N",
        "vendor id (0xFFF1)",
    ),
    Setting(
        "product-id",
        "product_id",
        _integer(1, 0xFFFF),
        "0x0001 to 0xFFFF",
        "N",
        "product id (0x8001)",
    ),
    Setting("dac", "dac", _file, _CERTIFICATE, "FILE", "own device attestation certificate"),
    Setting("pai", "pai", _file, _CERTIFICATE, "FILE", "own intermediate certificate"),
    Setting(
        "cd",
        "cd",
        _file,
        "a certification declaration (DER) that exists",
        "FILE",
        "own certification declaration",
    ),
    Setting(
        "dac-key",
        "dac_key",
        _file,
        "a private key file (DER or PEM) that exists",
        "FILE",
        "private key of --dac",
    ),
)
