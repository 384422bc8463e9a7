"""Configuration of a node from flags, environment and TOML file, in this order of precedence.

`NodeConfig` converts and checks its own values, so that one from Python, `EVSE_NODE_PORT`,
`port = 5540` and `--port` are treated alike and, if wrong, give the same line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from evse_node.config.settings import ENVIRONMENT_PREFIX, Option, settings_of
from evse_node.config.values import (
    HostPort,
    parse_cards,
    parse_control,
    parse_dem_features,
    parse_enable_key,
    parse_features,
    parse_file,
    parse_interfaces,
    parse_name,
    parse_passcode,
    parse_time_zone,
    parse_waits,
)
from evse_node.errors import ConfigError

TEST_VENDOR_ID: Final = 0xFFF1

# Defaults that are not constants.
RANDOM: Final = "random, then kept"
BUILT_IN: Final = "development attestation"

Certificate = Annotated[Path, Meta(description="a certificate file (DER or PEM) that exists")]
Discriminator = Annotated[int, Meta(ge=0, le=4095)]
Feature = Literal["PREF", "SOC", "PNC", "RFID", "V2X"]
YesNo = Annotated[bool, Meta(description="yes or no")]


def default_storage() -> Path:
    """Return the default storage folder.

    A service manager's STATE_DIRECTORY goes before the user's XDG state folder. Raises
    ConfigError for a user without a home folder.
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
    """All settings of one node. Raises ConfigError when a value cannot be used.

    None stands for the default that the setting's `Option` describes; `control` None is no
    control API. `dac`, `pai`, `cd` and `dac_key` are given together or not at all. `hal` holds
    the backend's own options; `device`, if any, becomes its "port".
    """

    storage: Annotated[
        Path,
        Meta(description="a folder"),
        Option("folder for the node's state", "DIR", default="~/.local/state/evse-node"),
    ] = field(default_factory=default_storage)
    port: Annotated[
        int,
        Meta(ge=0, le=65535, description="0 to 65535 (0 is any free port)"),
        Option("UDP port; 0 is any free one", "N"),
    ] = 5540
    discriminator: Annotated[
        Discriminator | None,
        Option("discriminator for commissioning, 0 to 4095", "N", default=RANDOM),
    ] = None
    passcode: Annotated[
        int | None,
        Meta(description="1 to 99999998, but no repeated digit, 12345678 or 87654321"),
        Option(
            "passcode for commissioning", "N", default=RANDOM, parse=parse_passcode, is_secret=True
        ),
    ] = None
    interfaces: Annotated[
        tuple[str, ...],
        Meta(description="names of network interfaces, like eth0"),
        Option(
            "network interface; may be repeated",
            "NAME",
            default="all but loopback",
            key="interface",
            parse=parse_interfaces,
        ),
    ] = ()
    backend: Annotated[
        str,
        Meta(description="the name of a hardware backend"),
        Option(
            "hardware: simulated, gpio, openevse, modbus-evse, or that of another package",
            "NAME",
            parse=parse_name,
        ),
    ] = "simulated"
    device: Annotated[
        str | None,
        Meta(description="a serial port, like /dev/ttyUSB0"),
        Option(
            "serial port of an EVSE controller; overrides port in [hal]",
            "PORT",
            default="none",
            parse=parse_name,
        ),
    ] = None
    features: Annotated[
        tuple[Feature, ...] | None,
        Meta(description="a list of PREF, SOC, PNC, RFID, V2X, or none"),
        Option(
            "PREF (targets), SOC (state of charge), PNC (plug and charge), RFID and V2X "
            "(discharging), or none",
            "LIST",
            default="all that the hardware supports",
            parse=parse_features,
        ),
    ] = None
    charging: Annotated[
        YesNo, Option("whether a new charger charges before a controller enables it")
    ] = False
    circuit_capacity_a: Annotated[
        int,
        Meta(ge=6, le=80, description="6 to 80 amperes"),
        Option("capacity of the circuit in amperes", "A", key="circuit-capacity"),
    ] = 32
    user_maximum_a: Annotated[
        int,
        Meta(ge=0, le=80, description="0 to 80 amperes"),
        Option("the user's limit in amperes until set over Matter", "A", key="user-maximum"),
    ] = 80
    ventilation: Annotated[
        YesNo, Option("whether vehicles that require ventilation (state D) may charge")
    ] = False
    cards: Annotated[
        tuple[bytes, ...] | None,
        Meta(description="UIDs of 1 to 10 bytes as hexadecimal digits, separated by commas"),
        Option(
            "RFID cards, one of which must be presented before charging",
            "LIST",
            default="no card required",
            parse=parse_cards,
        ),
    ] = None
    fault_retries: Annotated[
        tuple[float, ...],
        Meta(description="waits of 1 to 86400 seconds, separated by commas, or none"),
        Option(
            "waits in seconds before charging is retried after a moment's fault; after the last "
            "one, the fault lasts until the vehicle is unplugged or the fault acknowledged",
            "LIST",
            default="10,60,300",
            parse=parse_waits,
        ),
    ] = (10.0, 60.0, 300.0)
    closings_per_minute: Annotated[
        int,
        Meta(ge=1, le=60, description="1 to 60"),
        Option("how often the contactor may close in one minute", "N"),
    ] = 6
    card_outage_s: Annotated[
        int,
        Meta(ge=0, le=86_400, description="0 to 86400 seconds"),
        Option(
            "after a longer outage, in seconds, a card must be presented again",
            "S",
            key="card-outage",
        ),
    ] = 300
    time_zone: Annotated[
        str | None,
        Meta(description="a name like Europe/Berlin"),
        Option(
            "time zone of charging targets until set over Matter",
            "NAME",
            default="the system's",
            parse=parse_time_zone,
        ),
    ] = None
    vehicles: Annotated[
        Literal["any", "known"],
        Option("vehicles to plan for: any, or only those that have charged here before"),
    ] = "any"
    surplus_seconds: Annotated[
        int,
        Meta(ge=1, le=86400, description="1 to 86400 seconds"),
        Option("validity of a solar surplus reported without its own (POST /surplus)", "N"),
    ] = 60
    dem_features: Annotated[
        str,
        Meta(description="a feature map like 0x7B, a list like PA,PFR,FA, or none"),
        Option(
            "features of Device Energy Management, as a map or list, or none",
            "MAP",
            parse=parse_dem_features,
        ),
    ] = "0x7B"
    matter_version: Annotated[Literal["1.3", "1.4.2"], Option("version of Matter")] = "1.3"
    enable_key: Annotated[
        bytes | None,
        Meta(description="32 hexadecimal digits, not all zero"),
        Option(
            "16 bytes that enable test event triggers",
            "HEX",
            default="none",
            parse=parse_enable_key,
            is_secret=True,
        ),
    ] = None
    control: Annotated[
        HostPort | None,
        Meta(description="HOST:PORT (port 0 is any free port) or off"),
        Option("address of the local control API, or off", "HOST:PORT", parse=parse_control),
    ] = HostPort("127.0.0.1", 0)
    cluster_xml: Annotated[
        Path | None,
        Meta(description="a ZAP XML file"),
        Option("cluster definition that replaces the built-in one", "FILE", default="none"),
    ] = None
    clock: Annotated[
        Literal["system", "matter"],
        Option("source of the time: the system, or Matter only"),
    ] = "system"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Option("lowest level that is logged")
    ] = "info"
    vendor_id: Annotated[
        int,
        Meta(ge=1, le=0xFFF4, description="0x0001 to 0xFFF4"),
        Option("vendor id", "N", is_hexadecimal=True),
    ] = TEST_VENDOR_ID
    product_id: Annotated[
        int,
        Meta(ge=1, le=0xFFFF, description="0x0001 to 0xFFFF"),
        Option(
            "product id; 0x8000 to 0x801F with the development attestation",
            "N",
            is_hexadecimal=True,
        ),
    ] = 0x8001
    dac: Annotated[
        Certificate | None,
        Option(
            "your own device attestation certificate", "FILE", default=BUILT_IN, parse=parse_file
        ),
    ] = None
    pai: Annotated[
        Certificate | None,
        Option("your own intermediate certificate", "FILE", default=BUILT_IN, parse=parse_file),
    ] = None
    cd: Annotated[
        Path | None,
        Meta(description="a certification declaration file (DER) that exists"),
        Option("your own certification declaration", "FILE", default=BUILT_IN, parse=parse_file),
    ] = None
    dac_key: Annotated[
        Path | None,
        Meta(description="a private key file (DER or PEM) that exists"),
        Option("private key of --dac", "FILE", default=BUILT_IN, parse=parse_file),
    ] = None
    hal: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        secret = {each.field for each in SETTINGS if each.is_secret}
        names = (name for name in self.__struct_fields__ if name not in secret)
        shown = (f"{name}={getattr(self, name)!r}" for name in names)
        return f"NodeConfig({', '.join(shown)})"

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.field)
            force_setattr(
                self, setting.field, setting.convert(value, f"NodeConfig.{setting.field}")
            )
        if self.device is not None:
            force_setattr(self, "hal", {**self.hal, "port": self.device})
        _check_together(self)


SETTINGS: Final = settings_of(NodeConfig)


def load_config(
    flags: Mapping[str, object],
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> NodeConfig:
    """Return the configuration from flags, environment, file and defaults.

    The keys of `flags` are those of the command line ("log-level"); a value of None or an
    empty tuple counts as not given. Without `file`, EVSE_NODE_CONFIG names it, if set.

    Raises ConfigError with one line: source, key, value, what would be right.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get(ENVIRONMENT_PREFIX + "CONFIG"):
        file = Path(environment[ENVIRONMENT_PREFIX + "CONFIG"])
    table = {} if file is None else _read_file(file)
    values: dict[str, object] = {}
    for setting in SETTINGS:
        flag = flags.get(setting.key)
        if flag is not None and flag != ():
            values[setting.field] = setting.convert(flag, f"--{setting.key}")
        elif environment.get(setting.variable):
            values[setting.field] = setting.convert(environment[setting.variable], setting.variable)
        elif setting.key in table:
            values[setting.field] = setting.convert(table[setting.key], f"{file}: {setting.key}")
    if "hal" in table:
        values["hal"] = table["hal"]
    return NodeConfig(**cast("dict[str, Any]", values))


def _read_file(file: Path) -> dict[str, object]:
    # Slow to import, and not needed without a file.
    from evse_node.config.reading import read_toml

    settings = {setting.key: setting for setting in SETTINGS}
    table: dict[str, object] = {}
    for name, value in read_toml(file).items():
        key = name.replace("_", "-")
        if key == "hal" and not isinstance(value, dict):
            raise ConfigError(f"{file}: hal: '{value}' cannot be used: give a table [hal]")
        if key != "hal" and key not in settings:
            known = ", ".join(sorted(settings))
            raise ConfigError(f"{file}: {name}: no such key; known keys are {known}")
        is_path = key in settings and settings[key].is_path
        if is_path and isinstance(value, str) and value and value[0] != "~":
            # Relative to the folder of the file.
            table[key] = str(file.parent / value)
        else:
            table[key] = value
    return table


def _check_together(config: NodeConfig) -> None:
    own = {"dac": config.dac, "pai": config.pai, "cd": config.cd, "dac-key": config.dac_key}
    missing = [key for key, file in own.items() if file is None]
    if 0 < len(missing) < len(own):
        raise ConfigError(
            f"--{missing[0]} is missing: your own attestation needs "
            "--dac, --pai, --cd and --dac-key"
        )
    if missing and config.vendor_id != TEST_VENDOR_ID:
        raise ConfigError(
            f"vendor-id: 0x{config.vendor_id:04X} needs your own attestation: "
            f"give --dac, --pai, --cd and --dac-key, or vendor-id 0x{TEST_VENDOR_ID:04X}"
        )
    if missing and not 0x8000 <= config.product_id <= 0x801F:
        raise ConfigError(
            f"product-id: 0x{config.product_id:04X} needs your own attestation: "
            "give --dac, --pai, --cd and --dac-key, or product-id 0x8000 to 0x801F"
        )
