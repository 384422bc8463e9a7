"""The backend "modbus-evse" by its `[hal]` table.

[hal]
controller = "simpleevse"        # a shipped map, or a map's file
port = "/dev/ttyUSB0"            # or host = "192.168.1.8", with port = 502
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from evse_node.config.reading import FieldError, convert_options, missing, unusable
from evse_node.errors import ConfigError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.controller_map import ControllerMap, load_controller
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.bus_meter import MeterOnBus
from evse_node.hal.modbus.connection import ModbusKeys, ModbusSpec
from evse_node.hal.modbus.meter import load_map
from evse_node.units import Milliamps

# The order waits for the bus, the controller for its relay, and the report for the next poll.
_CONTACTOR_TIMEOUT_S: Final = 5.0
# No document states how soon the controllers open by themselves.
_OPENING_S: Final = 1.0
# A lost answer delays the next request by two seconds; two of them must not end a session.
_TIMINGS: Final = PollTimings(call_s=4.0, lost_s=6.0)


class Options(ModbusKeys, frozen=True, kw_only=True):
    """Keys of the `[hal]` table."""

    controller: Annotated[
        str,
        Meta(
            min_length=1,
            description="a shipped controller's name, or a register map's file",
        ),
    ]
    maximum_current_a: Annotated[float, Meta(ge=6, le=80)] | None = None
    phases: Annotated[int, Meta(ge=1, le=3)] | None = None
    cable: Literal["fixed", "socket"] = "fixed"
    meter: Annotated[str, Meta(min_length=1)] = "none"
    meter_unit: Annotated[int, Meta(ge=1, le=247)] | None = None
    fallback_current_a: Annotated[float, Meta(ge=0, le=80)] | None = None
    fallback_after_s: Annotated[float, Meta(ge=2, le=3_600)] = 10.0


def create(options: Mapping[str, object]) -> ExternalController:
    """Create the backend. Raises ConfigError."""
    evse, maximum_ma = read_evse(options)
    ratings = Ratings(
        maximum_current_ma=maximum_ma,
        phases=evse.phases,
        contactor_timeout_s=_CONTACTOR_TIMEOUT_S,
        opening_s=_OPENING_S,
    )
    return ExternalController(ModbusEvseLink(evse), ratings, timings=_TIMINGS)


def read_evse(options: Mapping[str, object]) -> tuple[ModbusEvse, Milliamps]:
    """Return the controller and its highest current. Raises ConfigError."""
    read = convert_options(options, Options)
    registers = load_controller(read.controller)
    try:
        return _evse(read, registers)
    except FieldError as error:
        raise ConfigError(f"configuration: hal.{error.key}{error.separator}{error}") from None


def _evse(options: Options, registers: ControllerMap) -> tuple[ModbusEvse, Milliamps]:
    modbus = options.modbus_spec(registers.link.modbus_spec())
    writes = registers.orders.all()
    highest = min(247 if each.broadcast_unit is None else each.count for each in writes)
    if modbus.unit > highest:
        right = f"1 to {highest}: {registers.name} has no more units"
        raise unusable("unit", modbus.unit, right)
    meter = _meter(options, registers, modbus)
    measured = 3 if meter is None else meter.phases
    if meter is not None and (options.phases or 0) > measured:
        right = f"{measured} at most: the meter measures no more"
        raise unusable("phases", options.phases, right)
    if options.cable == "socket" and registers.status.cable is None:
        raise unusable("cable", "socket", f"fixed: {registers.name} does not report its cable")
    maximum_a = options.maximum_current_a or min(32, registers.maximum_current_a)
    if maximum_a > registers.maximum_current_a:
        raise unusable("maximum-current-a", maximum_a, f"6 to {registers.maximum_current_a:g}")
    evse = ModbusEvse(
        registers=registers,
        modbus=modbus,
        phases=options.phases or measured,
        meter=meter,
        has_socket=options.cable == "socket",
        fallback_ma=_fallback_ma(options.fallback_current_a, maximum_a, registers),
        fallback_s=options.fallback_after_s,
    )
    return evse, Milliamps(round(maximum_a * 1000))


def _meter(options: Options, registers: ControllerMap, modbus: ModbusSpec) -> MeterOnBus | None:
    match options.meter:
        case "none":
            return None
        case "controller":
            if registers.meter is None:
                right = f"a meter's map and meter-unit: {registers.name} has no meter of its own"
                raise unusable("meter", options.meter, right)
            return MeterOnBus(registers.meter, modbus.unit)
        case name:
            if options.meter_unit is None:
                raise missing("meter-unit", "1 to 247")
            return MeterOnBus(load_map(name), options.meter_unit)


def _fallback_ma(
    current_a: float | None, maximum_a: float, registers: ControllerMap
) -> Milliamps | None:
    key, fallback = "fallback-current-a", registers.fallback
    if current_a is None:
        return None
    if fallback.current is None and fallback.restart_current is None:
        raise FieldError(key, f"{registers.name} has no such setting: leave it out")
    if 0 < current_a < 6 or current_a > maximum_a:
        raise unusable(key, current_a, f"0 for no charging, or 6 to {maximum_a:g}")
    return Milliamps(round(current_a * 1000))
