"""Execution of the machine's orders: on a backend, or on none in test mode.

`DummyHardware` replaces the backend during test events. It closes no contactor, so that a test
vehicle can be simulated on a charger with a live socket. Meanwhile `HardwareView` records the
state of the real hardware.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct, field

from evse_node.charger.meter_filter import find_error
from evse_node.errors import HalError
from evse_node.hal.interface import EvseBackend, Meter, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import (
    BeginDiagnostics,
    CloseContactor,
    LockCable,
    OfferCurrent,
    OpenContactor,
    Order,
    SetDischarge,
    SignalUnavailable,
    UnlockCable,
    WithdrawOffer,
)
from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    ContactorReported,
    Event,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
    VehicleIdentified,
)
from evse_node.state_machine.faults import FaultState

_LOGGER: Final = logging.getLogger(__name__)

_DEAD_MV: Final = 20_000
_IDLE_MA: Final = 500


class Hardware(Protocol):
    """Executor of orders. The events that it returns are the immediate feedback."""

    def execute(self, order: Order) -> list[Event]:
        """Execute one order. Never raises."""


class RealHardware:
    """Backend hardware. An order that fails raises a fault, never an exception."""

    def __init__(self, backend: EvseBackend) -> None:
        self._backend = backend

    def execute(self, order: Order) -> list[Event]:
        """Execute one order on the backend."""
        try:
            return self._execute(order)
        except HalError as error:
            _LOGGER.error("%s failed: %s", type(order).__name__, error)
            if isinstance(order, CloseContactor):
                return [FaultRaised(FaultState.CONTACT_DRY_FAILURE, is_momentary=True)]
        except Exception:
            # A defect of a backend must not prevent the orders that follow.
            _LOGGER.exception("%s failed in the backend", type(order).__name__)
        if isinstance(order, BeginDiagnostics):
            return [FaultRaised(FaultState.OTHER), SelfTestCompleted()]
        return [FaultRaised(FaultState.OTHER, is_momentary=True)]

    def _execute(self, order: Order) -> list[Event]:
        backend = self._backend
        match order:
            case OpenContactor():
                backend.contactor.open()
            case CloseContactor():
                backend.contactor.close()
            case OfferCurrent(current_ma):
                backend.control_pilot.offer(current_ma)
            case WithdrawOffer():
                backend.control_pilot.withdraw()
            case SignalUnavailable():
                backend.control_pilot.signal_unavailable()
            case LockCable():
                if backend.lock is not None:
                    backend.lock.lock()
            case UnlockCable():
                if backend.lock is not None:
                    backend.lock.unlock()
            case SetDischarge(current_or_none):
                if backend.discharger is not None:
                    backend.discharger.set_discharge(current_or_none)
            case BeginDiagnostics():
                return self._begin_diagnostics()
        return []

    def _begin_diagnostics(self) -> list[Event]:
        """Check meter and thermometer here; the backend tests the rest by itself."""
        backend = self._backend
        findings: list[Event] = []
        if backend.meter is not None:
            findings += check_meter(backend.meter, backend.ratings)
        if backend.temperature_sensor is not None:
            backend.temperature_sensor.read_millicelsius()
        if backend.self_test is None:
            return [*findings, SelfTestCompleted()]
        backend.self_test.start_self_test()
        return findings

    def reset_protection(self) -> None:
        """Reset the residual current device."""
        device = self._backend.residual_current_device
        if device is not None:
            _attempt(device.reset, "reset of the residual current device")

    def acknowledge_card(self) -> None:
        """Let the reader signal that the card was read."""
        reader = self._backend.rfid_reader
        if reader is not None:
            _attempt(reader.acknowledge, "acknowledgement of the card")


def _attempt(call: Callable[[], None], name: str) -> None:
    """Make a call that is not essential; an exception is only logged."""
    try:
        call()
    except Exception as error:
        _LOGGER.error("%s failed: %r", name, error, exc_info=not isinstance(error, HalError))


def check_meter(meter: Meter, ratings: Ratings) -> list[Event]:
    """Return the faults of the meter, and those that it shows with the contactor open."""
    try:
        values = meter.read()
    except HalError as error:
        _LOGGER.error("self-test: the meter does not answer: %s", error)
        return [FaultRaised(FaultState.METER_FAILURE)]
    defect = find_error(values, ratings)
    if defect:
        _LOGGER.error("self-test: the meter's reading is invalid: %s", defect)
        return [FaultRaised(FaultState.METER_FAILURE)]
    found: set[FaultState] = set()
    # A phase without voltage is not connected.
    voltages = [voltage for voltage in values.voltages_mv if voltage > _DEAD_MV]
    if not voltages:
        found.add(FaultState.POWER_LOSS)
    if any(voltage < ratings.nominal_voltage_mv * 80 // 100 for voltage in voltages):
        found.add(FaultState.UNDER_VOLTAGE)
    if any(voltage > ratings.nominal_voltage_mv * 120 // 100 for voltage in voltages):
        found.add(FaultState.OVER_VOLTAGE)
    if any(abs(current) > _IDLE_MA for current in values.currents_ma):
        found.add(FaultState.CONTACT_WET_FAILURE)
    for fault in found:
        _LOGGER.error("self-test: %s; the meter shows %s", fault.value, values)
    return [FaultRaised(fault) for fault in FaultState if fault in found]


class DummyHardware:
    """Hardware of the test vehicle: a contactor that follows at once, and nothing else."""

    def execute(self, order: Order) -> list[Event]:
        """Return the feedback of an order without executing it."""
        match order:
            case OpenContactor():
                return [ContactorReported(False)]
            case CloseContactor():
                return [ContactorReported(True)]
            case _:
                return []


class HardwareView(Struct):
    """Last reports of the real hardware while `DummyHardware` replaces it."""

    pilot: PilotState | None = None
    reports: dict[type[Event], Event] = field(default_factory=dict)
    faults: list[FaultState] = field(default_factory=list)
    retried: frozenset[FaultState] = frozenset()

    def record(self, event: Event) -> None:
        """Record an event of the hardware."""
        match event:
            case PilotChanged(pilot):
                self.pilot = pilot
            case FaultRaised(fault):
                if fault not in self.faults:
                    self.faults.append(fault)
                self.retried -= {fault}
                if event.is_momentary:
                    self.retried |= {fault}
            case FaultCleared(fault):
                self.faults = [
                    left for left in self.faults if fault is not None and left is not fault
                ]
            case ContactorReported() | CableChanged() | BatteryReported() | VehicleIdentified():
                self.reports[type(event)] = event
            case _:
                pass

    def replay(self) -> list[Event]:
        """Return the events that bring a machine without vehicle up to date."""
        events: list[Event] = [
            FaultRaised(fault, is_momentary=fault in self.retried) for fault in self.faults
        ]
        vehicle = (BatteryReported, VehicleIdentified)
        events += (event for event in self.reports.values() if not isinstance(event, vehicle))
        if self.pilot is not None:
            events.append(PilotChanged(self.pilot))
        events += (event for event in self.reports.values() if isinstance(event, vehicle))
        return events
