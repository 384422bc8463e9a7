"""The backend "openevse" by its `[hal]` table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from evse_node.config.reading import TomlStruct, convert_options
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.openevse.link import (
    CONTACTOR_S,
    LONGEST_HEARTBEAT_S,
    OPENING_S,
    OpenEvseLink,
    OpenEvseSettings,
)
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import Ratings
from evse_node.hal.serial_port import SerialPort
from evse_node.units import Milliamps, Millivolts

# It is silent for five seconds when it overheats, and while it starts.
_LOST_S: Final = 7.0

_Amperes = Annotated[int, Meta(ge=6, le=80)]


class Options(TomlStruct, frozen=True, kw_only=True):
    """Keys of the `[hal]` table."""

    port: Annotated[str, Meta(min_length=1, description="a serial port like /dev/ttyUSB0")]
    baud: Annotated[int, Meta(ge=9_600, le=1_000_000)] = 115_200
    maximum_current_a: _Amperes = 32
    phases: Annotated[int, Meta(ge=1, le=3)] = 1
    voltage_v: Annotated[int, Meta(ge=100, le=500)] = 230
    meter: bool = True
    thermometer: bool = True
    lock: bool = False
    fallback_after_s: Annotated[int, Meta(ge=0, le=LONGEST_HEARTBEAT_S)] = 20
    fallback_current_a: _Amperes = 6


def create(options: Mapping[str, object]) -> ExternalController:
    """Create the backend. Raises ConfigError."""
    read = convert_options(options, Options)
    ratings = Ratings(
        maximum_current_ma=Milliamps(1_000 * read.maximum_current_a),
        phases=read.phases,
        nominal_voltage_mv=Millivolts(1_000 * read.voltage_v),
        contactor_timeout_s=CONTACTOR_S,
        opening_s=OPENING_S,
    )
    settings = OpenEvseSettings(
        ratings=ratings,
        has_meter=read.meter,
        has_thermometer=read.thermometer,
        has_lock=read.lock,
        heartbeat_s=read.fallback_after_s,
        fallback_a=read.fallback_current_a,
    )
    link = OpenEvseLink(SerialPort(read.port, read.baud), settings)
    return ExternalController(link, ratings, timings=PollTimings(lost_s=_LOST_S))
