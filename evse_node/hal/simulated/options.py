"""The simulated backend and its vehicle by the `[hal]` table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from evse_node.config.reading import TomlStruct, convert_options
from evse_node.errors import ConfigError
from evse_node.hal.interface import Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.units import Milliamps, MilliwattHours

_Amperes = Annotated[float, Meta(ge=6, le=80)]
_Phases = Annotated[int, Meta(ge=1, le=3)]
_Seconds = Annotated[float, Meta(ge=0, le=1e6)]


class Options(TomlStruct, frozen=True, kw_only=True):
    """Keys of the `[hal]` table, all optional."""

    maximum_current_a: _Amperes = 32
    phases: _Phases = 3
    cable_a: _Amperes = 32
    grid_meter: bool = False
    without: Annotated[
        frozenset[Literal["PNC", "RFID", "SOC", "V2X"]],
        Meta(description="a list of PNC, RFID, SOC, V2X"),
    ] = frozenset()
    speed: Annotated[float, Meta(ge=0.001, le=100_000)] = 1
    battery_kwh: Annotated[float, Meta(ge=0.001, le=1000)] = 60
    soc_percent: Annotated[int, Meta(ge=0, le=100)] = 40
    car_current_a: _Amperes = 16
    car_phases: _Phases = 3
    asks_at_once: bool = False
    stops_at_percent: Annotated[int, Meta(ge=1, le=100)] = 100
    pauses_after_s: _Seconds = 0
    pauses_for_s: _Seconds = 0
    leaves_after_s: _Seconds = 0
    asks_without_offer: bool = True
    heeds_offer: bool = True


def create(options: Mapping[str, object]) -> SimulatedBackend:
    """Create the backend. Raises ConfigError."""
    if "port" in options:
        raise ConfigError(
            f"device: the simulated backend has no serial port, as for '{options['port']}': "
            "choose a --backend that has one"
        )
    # Whole numbers may be written as 3.0.
    whole = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in options.items()
    }
    read = convert_options(whole, Options)
    maximum_ma = Milliamps(int(read.maximum_current_a * 1000))
    car = ElectricCar(
        capacity_mwh=MilliwattHours(int(read.battery_kwh * 1_000_000)),
        charger_maximum_ma=Milliamps(int(read.car_current_a * 1000)),
        phases=read.car_phases,
        habits=Habits(
            asks_at_once=read.asks_at_once,
            stops_at_percent=read.stops_at_percent,
            pauses_after_s=int(read.pauses_after_s),
            pauses_for_s=int(read.pauses_for_s),
            leaves_after_s=int(read.leaves_after_s),
            asks_without_offer=read.asks_without_offer,
            heeds_offer=read.heeds_offer,
        ),
    )
    car.state_of_charge_percent = read.soc_percent
    return SimulatedBackend(
        speed=read.speed,
        ratings=Ratings(maximum_ma, maximum_ma, read.phases),
        cable_ma=Milliamps(int(read.cable_a * 1000)),
        car=car,
        without=read.without,
        has_grid_meter=read.grid_meter,
    )
