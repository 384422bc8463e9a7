"""The table of settings: for each key how its text is read and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from evse_node.cluster.definitions.revision import revision_names
from evse_node.config.setting_values import (
    FEATURES,
    integer,
    one_of,
    read_cards,
    read_control,
    read_enable_key,
    read_features,
    read_file,
    read_interfaces,
    read_management,
    read_matter_version,
    read_name,
    read_passcode,
    read_path,
    read_time_zone,
)
from evse_node.errors import ConfigError
from evse_node.matter.fabrics.onboarding import MAX_DISCRIMINATOR

ENVIRONMENT_PREFIX: Final = "EVSE_NODE_"
CLOCKS: Final = ("system", "matter")
SUPPLY: Final = ("disabled", "enabled")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


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


_CERTIFICATE: Final = "a certificate file (DER or PEM) that exists"

SETTINGS: Final = (
    Setting(
        "storage",
        "storage",
        read_path,
        "a folder",
        "DIR",
        "folder that keeps the state (~/.local/state/evse-node)",
    ),
    Setting(
        "port",
        "port",
        integer(0, 65535),
        "0 to 65535 (0 chooses a free port)",
        "N",
        "UDP port (5540; 0: any free one)",
    ),
    Setting(
        "discriminator",
        "discriminator",
        integer(0, MAX_DISCRIMINATOR),
        "0 to 4095",
        "N",
        "0 to 4095 (drawn once, then kept)",
    ),
    Setting(
        "passcode",
        "passcode",
        read_passcode,
        "1 to 99999998, but no repeated digit, 12345678 or 87654321",
        "N",
        "setup passcode (drawn once, then kept)",
    ),
    Setting(
        "interface",
        "interfaces",
        read_interfaces,
        "names of network interfaces, like eth0",
        "NAME",
        "network interface; may be repeated (all but loopback)",
    ),
    Setting(
        "backend",
        "backend",
        read_name,
        "the name of a hardware backend",
        "NAME",
        "hardware (simulated)",
    ),
    Setting(
        "device",
        "device",
        read_name,
        "a serial port like /dev/ttyUSB0",
        "PORT",
        "serial port of an EVSE controller, which goes before port in [hal] (none)",
    ),
    Setting(
        "features",
        "features",
        read_features,
        f"a list of {', '.join(FEATURES)} (or none)",
        "LIST",
        f"some of {','.join(FEATURES)}, or none (all that the hardware can do)",
    ),
    Setting(
        "charging",
        "charging",
        one_of(*SUPPLY),
        f"one of {', '.join(SUPPLY)}",
        "NAME",
        "whether a new charger may charge before a controller allows it: enabled or disabled "
        "(disabled)",
    ),
    Setting(
        "circuit-capacity",
        "circuit_capacity_a",
        integer(6, 80),
        "6 to 80 amperes",
        "A",
        "amperes that the installation carries (32)",
    ),
    Setting(
        "user-maximum",
        "user_maximum_a",
        integer(0, 80),
        "0 to 80 amperes",
        "A",
        "the user's limit in amperes until another is set over Matter (80)",
    ),
    Setting(
        "ventilation",
        "ventilation",
        one_of("yes", "no"),
        "yes or no",
        "yes|no",
        "whether vehicles that need ventilation may charge here (no)",
    ),
    Setting(
        "cards",
        "cards",
        read_cards,
        "UIDs of 1 to 10 bytes as hexadecimal digits, separated by commas",
        "LIST",
        "RFID cards, of which one has to be shown before energy flows (none is needed)",
    ),
    Setting(
        "time-zone",
        "time_zone",
        read_time_zone,
        "a name like Europe/Berlin",
        "NAME",
        "where charging targets count until it is set over Matter (that of the system)",
    ),
    Setting(
        "vehicles",
        "vehicles",
        one_of("any", "known"),
        "any or known",
        "any|known",
        "whether vehicles may come that were never here: any is tried early for a target (any)",
    ),
    Setting(
        "dem-features",
        "dem_features",
        read_management,
        "a feature map like 0x7B, a list like PA,PFR,FA, or none",
        "MAP",
        "features of Device Energy Management, as map or list, or none (0x7B)",
    ),
    Setting(
        "matter-version",
        "matter_version",
        read_matter_version,
        f"one of {', '.join(revision_names())}",
        "NAME",
        f"version of Matter, one of {', '.join(revision_names())} (1.3)",
    ),
    Setting(
        "enable-key",
        "enable_key",
        read_enable_key,
        "32 hexadecimal digits, not all zero",
        "HEX",
        "16 bytes that allow test event triggers (none)",
    ),
    Setting(
        "control",
        "control",
        read_control,
        "HOST:PORT (port 0 chooses one) or off",
        "HOST:PORT",
        "local control API (127.0.0.1:0), or off",
    ),
    Setting(
        "cluster-xml",
        "cluster_xml",
        read_path,
        "a ZAP XML file",
        "FILE",
        "cluster definition that goes before the shipped one",
    ),
    Setting(
        "clock",
        "clock",
        one_of(*CLOCKS),
        f"one of {', '.join(CLOCKS)}",
        "NAME",
        "whose time counts: that of the system, or only what comes over Matter (system)",
    ),
    Setting(
        "log-level",
        "log_level",
        one_of(*LOG_LEVELS),
        f"one of {', '.join(LOG_LEVELS)}",
        "NAME",
        f"{', '.join(LOG_LEVELS)} (info)",
    ),
    Setting(
        "vendor-id",
        "vendor_id",
        integer(1, 0xFFF4),
        "0x0001 to 0xFFF4",
        "N",
        "vendor id (0xFFF1)",
    ),
    Setting(
        "product-id",
        "product_id",
        integer(1, 0xFFFF),
        "0x0001 to 0xFFFF",
        "N",
        "product id (0x8001)",
    ),
    Setting("dac", "dac", read_file, _CERTIFICATE, "FILE", "own device attestation certificate"),
    Setting("pai", "pai", read_file, _CERTIFICATE, "FILE", "own intermediate certificate"),
    Setting(
        "cd",
        "cd",
        read_file,
        "a certification declaration (DER) that exists",
        "FILE",
        "own certification declaration",
    ),
    Setting(
        "dac-key",
        "dac_key",
        read_file,
        "a private key file (DER or PEM) that exists",
        "FILE",
        "private key of --dac",
    ),
)
