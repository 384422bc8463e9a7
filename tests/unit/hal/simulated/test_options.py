"""Options of the simulated backend."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from evse_node.errors import ConfigError
from evse_node.hal.simulated.options import create


def test_all_options_are_read() -> None:
    backend = create(
        {
            "speed": 10,
            "maximum-current-a": 16,
            "phases": 1.0,
            "cable_a": 20,
            "battery-kwh": 77,
            "soc-percent": 12,
            "car-current-a": 32,
            "car-phases": 1,
            "asks-at-once": True,
            "stops-at-percent": 90,
            "pauses-after-s": 5,
            "pauses-for-s": 6,
            "leaves-after-s": 7,
            "asks-without-offer": False,
            "without": ["V2X"],
        }
    )
    assert backend.speed == 10
    assert backend.ratings.maximum_current_ma == 16_000
    assert backend.ratings.phases == 1
    assert backend.cable_ma == 20_000
    assert backend.car.capacity_mwh == 77_000_000
    assert backend.car.state_of_charge_percent == 12
    assert backend.car.charger_maximum_ma == 32_000
    assert backend.car.habits.leaves_after_s == 7
    assert not backend.car.habits.asks_without_offer
    assert backend.discharger is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0}, "hal.speed: 0 cannot"),
        ({"speed": "fast"}, "hal.speed: 'fast'"),
        ({"soc-percent": 101}, "hal.soc-percent: 101"),
        ({"asks-at-once": 1}, "hal.asks-at-once: 1"),
        ({"without": "V2X"}, "hal.without: 'V2X'"),
        ({"without": ["PREF"]}, "PREF"),
        ({"port": "/dev/x"}, "device: the simulated backend has no serial port"),
        ({"voltage": 1}, "hal.voltage: no such key; known keys are asks-at-once"),
        ({"phases": 2.5}, "hal.phases: 2.5 cannot be used: give a whole number"),
        ({"phases": True}, "hal.phases: True"),
    ],
)
def test_invalid_options_are_refused(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(options)
