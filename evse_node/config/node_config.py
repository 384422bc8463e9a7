"""What a node is told: flags, environment, TOML file, in this order of rank.

The table in `settings` knows every key: how its text is read and what would be right.
`NodeConfig` checks itself by the same table, so that a value from Python, from
`EVSE_NODE_PORT`, from `port = 5540` and from `--port` get the same treatment and,
if wrong, the same line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from msgspec import Struct, field
from msgspec.structs import fields, force_setattr

from evse_node.config.reading import read_toml
from evse_node.config.setting_values import HostPort
from evse_node.config.settings import ENVIRONMENT_PREFIX, SETTINGS
from evse_node.errors import ConfigError
from evse_node.matter.crypto import repr_without

DEFAULT_PORT: Final = 5540
TEST_VENDOR_ID: Final = 0xFFF1


DEFAULT_CONTROL: Final = HostPort("127.0.0.1", 0)


def default_storage() -> Path:
    """Return where a node keeps its state unless told otherwise.

    A service manager's STATE_DIRECTORY goes before the user's XDG state folder. Raises
    ConfigError for a user without a home.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "evse-node"
    except RuntimeError:
        raise ConfigError("storage: you have no home folder: give --storage DIR") from None


class NodeConfig(Struct, frozen=True, kw_only=True):
    """All settings of one node.

    `passcode` and `discriminator` are None for values that the node draws at its
    first start and keeps. `interfaces` is empty for every interface that is up
    and not loopback. `features` is None for all that the backend can do.
    `dem_features` is the feature map of Device Energy Management, or empty. `control`
    is None for no control API. `clock` is "system" or "matter". `charging` is "enabled" for a
    charger that charges before a controller has said anything, else "disabled". `cards`
    are the UIDs of RFID cards of which one has to be shown, None for no such need. `dac`,
    `pai`, `cd` and `dac_key` are files of the maker's own attestation, all four or none.
    `hal` is handed to the backend; `device`, if any, is its "port".

    Raises ConfigError when a value cannot be used.
    """

    storage: Path = field(default_factory=default_storage)
    port: int = DEFAULT_PORT
    discriminator: int | None = None
    passcode: int | None = None
    interfaces: tuple[str, ...] = ()
    backend: str = "simulated"
    device: str | None = None
    features: tuple[str, ...] | None = None
    charging: str = "disabled"
    circuit_capacity_a: int = 32
    user_maximum_a: int = 80
    ventilation: str = "no"
    cards: tuple[str, ...] | None = None
    time_zone: str | None = None
    vehicles: str = "any"
    dem_features: str = "0x7B"
    matter_version: str = "1.3"
    enable_key: bytes | None = None
    control: HostPort | None = DEFAULT_CONTROL
    cluster_xml: Path | None = None
    clock: str = "system"
    log_level: str = "info"
    vendor_id: int = TEST_VENDOR_ID
    product_id: int = 0x8001
    dac: Path | None = None
    pai: Path | None = None
    cd: Path | None = None
    dac_key: Path | None = None
    hal: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        return repr_without(self, "passcode", "enable_key")

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.field)
            if value is not None or setting.field not in _OPTIONAL:
                checked = setting.check(value, f"NodeConfig.{setting.field}")
                force_setattr(self, setting.field, checked)
        if self.device is not None:
            force_setattr(self, "hal", {**self.hal, "port": self.device})
        _check_together(self)


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
    table = _read_file(file) if file is not None else {}
    chosen: dict[str, object] = {}
    for setting in SETTINGS:
        flag = flags.get(setting.key)
        if flag is not None and flag != ():
            chosen[setting.field] = setting.check(flag, f"--{setting.key}")
        elif environment.get(setting.variable):
            chosen[setting.field] = setting.check(environment[setting.variable], setting.variable)
        elif setting.key in table:
            chosen[setting.field] = setting.check(table[setting.key], f"{file}: {setting.key}")
    if "hal" in table:
        chosen["hal"] = table["hal"]
    return NodeConfig(**cast("dict[str, Any]", chosen))


def _read_file(file: Path) -> dict[str, object]:
    known = {setting.key for setting in SETTINGS}
    result: dict[str, object] = {}
    for name, value in read_toml(file).items():
        key = name.replace("_", "-")
        if key == "hal" and isinstance(value, dict):
            result["hal"] = value
        elif key == "hal":
            raise ConfigError(f"{file}: hal: '{value}' cannot be used: give a table [hal]")
        elif key in _PATHS and isinstance(value, str) and value and value[0] != "~":
            result[key] = str(file.parent / value)
        elif key in known:
            result[key] = value
        else:
            raise ConfigError(f"{file}: {name}: no such key; known are {', '.join(sorted(known))}")
    return result


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


# In a file, these are relative to the file's own folder.
_PATHS: Final = frozenset({"storage", "cluster-xml", "dac", "pai", "cd", "dac-key"})

_FIELDS: Final = frozenset(NodeConfig.__struct_fields__)
_OPTIONAL: Final = {each.name for each in fields(NodeConfig) if each.default is None} | {"control"}
if not {setting.field for setting in SETTINGS} | {"hal"} == _FIELDS:
    raise AssertionError("SETTINGS and NodeConfig name different fields")
