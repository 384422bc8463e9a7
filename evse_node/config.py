"""What a node is told: flags, environment, TOML file, in this order of rank.

One table, `SETTINGS`, knows every key: how its text is read and what would be right.
`NodeConfig` checks itself by the same table, so that a value from Python, from
`EVSE_NODE_PORT`, from `port = 5540` and from `--port` get the same treatment and,
if wrong, the same line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from evse_node.errors import ConfigError
from evse_node.matter.onboarding import MAX_DISCRIMINATOR, MAX_PASSCODE, is_valid_passcode

ENVIRONMENT_PREFIX: Final = "EVSE_NODE_"
DEFAULT_PORT: Final = 5540
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
FEATURES: Final = ("PREF", "SOC", "PNC", "RFID", "V2X")
TEST_VENDOR_ID: Final = 0xFFF1


class HostPort(NamedTuple):
    """Where the control API listens. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_CONTROL: Final = HostPort("127.0.0.1", 0)


def default_storage() -> Path:
    """Return where a node keeps its state unless told otherwise.

    A service manager's STATE_DIRECTORY goes before the user's XDG state folder.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "evse-node"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """All settings of one node.

    `passcode` and `discriminator` are None for values that the node draws at its
    first start and keeps. `interfaces` is empty for every interface that is up
    and not loopback. `features` is None for all that the backend can do. `control`
    is None for no control API. `dac`, `pai`, `cd` and `dac_key` are files of the
    maker's own attestation, all four or none. `hal` is handed to the backend.

    Raises ConfigError when a value cannot be used.
    """

    storage: Path = field(default_factory=default_storage)
    port: int = DEFAULT_PORT
    discriminator: int | None = None
    passcode: int | None = None
    interfaces: tuple[str, ...] = ()
    backend: str = "simulated"
    features: tuple[str, ...] | None = None
    enable_key: bytes | None = None
    control: HostPort | None = DEFAULT_CONTROL
    cluster_xml: Path | None = None
    log_level: str = "info"
    vendor_id: int = TEST_VENDOR_ID
    product_id: int = 0x8001
    dac: Path | None = None
    pai: Path | None = None
    cd: Path | None = None
    dac_key: Path | None = None
    hal: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.field)
            if value is not None:
                checked = _read(setting, value, f"NodeConfig.{setting.field}")
                object.__setattr__(self, setting.field, checked)
        _check_together(self)


class Setting(NamedTuple):
    """One key: its name as a flag, its field in NodeConfig, how to read it, what is right."""

    key: str
    field: str
    read: Callable[[object], object]
    right: str

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper().replace("-", "_")


def load_config(
    flags: Mapping[str, object],
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> NodeConfig:
    """Return the settings from flags over environment over file over defaults.

    `flags` is keyed like the command line ("log-level"); None and empty tuples
    mean: not given. `file` None takes the one that EVSE_NODE_CONFIG names, if any.

    Raises ConfigError with one line: where, key, value, what would be right.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get(ENVIRONMENT_PREFIX + "CONFIG"):
        file = Path(environment[ENVIRONMENT_PREFIX + "CONFIG"])
    table = _read_toml(file) if file is not None else {}
    chosen: dict[str, object] = {}
    for setting in SETTINGS:
        flag = flags.get(setting.key)
        if flag is not None and flag != ():
            chosen[setting.field] = _read(setting, flag, f"--{setting.key}")
        elif environment.get(setting.variable):
            chosen[setting.field] = _read(setting, environment[setting.variable], setting.variable)
        elif setting.key in table:
            chosen[setting.field] = _read(setting, table[setting.key], f"{file}: {setting.key}")
    if "hal" in table:
        chosen["hal"] = table["hal"]
    return NodeConfig(**cast("dict[str, Any]", chosen))


def _read_toml(file: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    known = {setting.key for setting in SETTINGS}
    result: dict[str, object] = {}
    for name, value in table.items():
        key = name.replace("_", "-")
        if key == "hal" and isinstance(value, dict):
            result["hal"] = value
        elif key in _PATHS and isinstance(value, str):
            result[key] = str(file.parent / Path(value).expanduser())
        elif key in known:
            result[key] = value
        else:
            raise ConfigError(f"{file}: {name}: no such key; known are {', '.join(sorted(known))}")
    return result


def _read(setting: Setting, value: object, source: str) -> object:
    try:
        return setting.read(value)
    except ValueError:
        shown = value if isinstance(value, str) else repr(value)
        raise ConfigError(f"{source}: '{shown}' cannot be used: give {setting.right}") from None


def _check_together(config: NodeConfig) -> None:
    own = {"dac": config.dac, "pai": config.pai, "cd": config.cd, "dac-key": config.dac_key}
    missing = [key for key, file in own.items() if file is None]
    if 0 < len(missing) < len(own):
        raise ConfigError(
            f"--{missing[0]} is missing: own attestation needs --dac, --pai, --cd and --dac-key"
        )
    if missing and config.vendor_id != TEST_VENDOR_ID:
        raise ConfigError(
            f"vendor-id: 0x{config.vendor_id:04X} needs its own attestation: "
            f"give --dac, --pai, --cd and --dac-key, or vendor-id 0x{TEST_VENDOR_ID:04X}"
        )
    if missing and not 0x8000 <= config.product_id <= 0x801F:
        raise ConfigError(
            f"product-id: 0x{config.product_id:04X} needs its own attestation: "
            "give --dac, --pai, --cd and --dac-key, or product-id 0x8000 to 0x801F"
        )


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
    return Path(value).expanduser()


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


def _log_level(value: object) -> str:
    name = _name(value).lower()
    if name not in LOG_LEVELS:
        raise ValueError
    return name


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
        return value
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


SETTINGS: Final = (
    Setting("storage", "storage", _path, "a folder"),
    Setting("port", "port", _integer(0, 65535), "0 to 65535 (0 chooses a free port)"),
    Setting("discriminator", "discriminator", _integer(0, MAX_DISCRIMINATOR), "0 to 4095"),
    Setting(
        "passcode",
        "passcode",
        _passcode,
        "1 to 99999998, but no repeated digit, 12345678 or 87654321",
    ),
    Setting("interface", "interfaces", _interfaces, "names of network interfaces, like eth0"),
    Setting("backend", "backend", _name, "the name of a hardware backend"),
    Setting("features", "features", _features, f"a list of {', '.join(FEATURES)} (or none)"),
    Setting("enable-key", "enable_key", _enable_key, "32 hexadecimal digits, not all zero"),
    Setting("control", "control", _control, "HOST:PORT (port 0 chooses one) or off"),
    Setting("cluster-xml", "cluster_xml", _path, "a ZAP XML file"),
    Setting("log-level", "log_level", _log_level, f"one of {', '.join(LOG_LEVELS)}"),
    Setting("vendor-id", "vendor_id", _integer(1, 0xFFF4), "0x0001 to 0xFFF4"),
    Setting("product-id", "product_id", _integer(1, 0xFFFF), "0x0001 to 0xFFFF"),
    Setting("dac", "dac", _file, "a certificate file (DER or PEM) that exists"),
    Setting("pai", "pai", _file, "a certificate file (DER or PEM) that exists"),
    Setting("cd", "cd", _file, "a certification declaration (DER) that exists"),
    Setting("dac-key", "dac_key", _file, "a private key file (DER or PEM) that exists"),
)

# In a file, these are relative to the file's own folder.
_PATHS: Final = frozenset({"storage", "cluster-xml", "dac", "pai", "cd", "dac-key"})

_FIELDS: Final = frozenset(each.name for each in fields(NodeConfig))
if not {setting.field for setting in SETTINGS} | {"hal"} == _FIELDS:
    raise AssertionError("SETTINGS and NodeConfig name different fields")
