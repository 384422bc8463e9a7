"""Options of the backend "modbus-evse"."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from evse_node.errors import ConfigError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.options import read_evse
from evse_node.hal.modbus.meter import load_map
from evse_node.hal.registry import create_backend

SIMPLE = {"controller": "simpleevse", "port": "/dev/ttyUSB0"}
PHOENIX = {"controller": "phoenix-em-cp-pp-eth", "host": "192.168.0.8"}
SMART = {"controller": "smartevse", "port": "/dev/ttyUSB0"}


def test_documented_configuration_is_valid() -> None:
    document = Path(__file__).parents[5] / "docs" / "controllers.md"
    parts = document.read_text(encoding="utf-8").split("```toml\n")[1:]
    blocks = [part.partition("```")[0] for part in parts]
    [text] = [block for block in blocks if "modbus-evse" in block]
    config = tomllib.loads(text)
    assert config["backend"] == "modbus-evse"
    evse, maximum_ma = read_evse(config["hal"])
    assert (evse.registers.name, maximum_ma) == ("SimpleEVSE / EVSE-DIN", 16_000)
    more = re.findall(r"^# ([a-z-]+) = ", text, re.MULTILINE)
    assert more == ["host", "unit", "meter-unit", "fallback-current-a", "fallback-after-s"]


def test_defaults_are_those_of_register_map() -> None:
    evse, maximum_ma = read_evse(SIMPLE)
    assert (evse.modbus.baud, evse.modbus.parity, evse.modbus.unit) == (9_600, "N", 1)
    assert (maximum_ma, evse.phases, evse.meter, evse.fallback_ma) == (32_000, 3, None, None)
    evse, _ = read_evse(PHOENIX)
    assert (evse.modbus.host, evse.modbus.tcp_port, evse.modbus.unit) == ("192.168.0.8", 502, 180)
    evse, _ = read_evse(SMART)
    assert evse.modbus.unit == 2


def test_all_keys_are_read() -> None:
    evse, maximum_ma = read_evse(
        {
            **SIMPLE,
            "unit": 7,
            "baud": 19_200,
            "parity": "E",
            "meter": "sdm230",
            "meter-unit": 8,
            "phases": 1,
            "maximum-current-a": 16,
            "cable": "socket",
            "fallback-current-a": 6,
        }
    )
    assert (evse.modbus.unit, evse.modbus.baud, evse.modbus.parity) == (7, 19_200, "E")
    assert evse.meter is not None
    assert (evse.meter.unit, evse.meter.registers) == (8, load_map("sdm230"))
    assert (maximum_ma, evse.phases, evse.has_socket) == (16_000, 1, True)
    assert evse.fallback_ma == 6_000


def test_backend_has_capabilities_of_controller() -> None:
    backend = create_backend("modbus-evse", {**PHOENIX, "meter": "controller", "phases": 3})
    assert isinstance(backend, ExternalController)
    assert backend.ratings.phases == 3
    assert backend.meter is not None
    assert backend.proximity_pilot is None
    assert backend.temperature_sensor is None
    assert create_backend("modbus-evse", SMART).temperature_sensor is None
    assert create_backend("modbus-evse", {**PHOENIX, "cable": "socket"}).proximity_pilot is not None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, r"hal\.controller is missing: give a shipped controller's name, or a register map"),
        (
            {**SIMPLE, "controller": "keba"},
            r"hal\.controller: 'keba' is no file: give one, or one of phoenix",
        ),
        ({"controller": "simpleevse"}, r"hal\.port is missing: give a serial port like /dev/tty"),
        (
            {**SIMPLE, "baud": 50},
            r"configuration: hal\.baud: 50 cannot be used: give 1200 to 115200",
        ),
        (
            {**SIMPLE, "speed": 9_600},
            r"hal\.speed: no such key; known keys are baud, cable, controller",
        ),
        ({**PHOENIX, "baud": 9_600}, r"hal\.baud: no such key"),
        ({**SIMPLE, "unit": 0}, r"hal\.unit: 0 cannot be used: give 1 to 247"),
        (
            {**SMART, "unit": 9},
            r"hal\.unit: 9 cannot be used: give 1 to 8: SmartEVSE has no more units",
        ),
        (
            {**SIMPLE, "meter": "controller"},
            r"hal\.meter: 'controller' cannot .* no meter of its own",
        ),
        ({**SIMPLE, "meter": "sdm630"}, r"hal\.meter-unit is missing: give 1 to 247"),
        (
            {**SIMPLE, "meter": "sdm230", "meter-unit": 2, "phases": 3},
            r"hal\.phases: 3 cannot be used: give 1 at most: the meter measures no more",
        ),
        ({**SMART, "cable": "socket"}, r"hal\.cable: 'socket' .* SmartEVSE does not report its"),
        (
            {**SIMPLE, "fallback_current_a": 3},
            r"fallback-current-a: 3.0 .* give 0 for no charging, or",
        ),
        (
            {**PHOENIX, "fallback_current_a": 6},
            r"fallback-current-a: Phoenix .* no such setting",
        ),
        (
            {**SIMPLE, "maximum_current_a": 100},
            r"maximum-current-a: 100 cannot be used: give 6 to 80",
        ),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_evse(options)
