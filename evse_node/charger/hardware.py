"""Between the machine's words and the hardware's: orders go down, events come up.

`RealHardware` drives a backend. `DummyHardware` takes its place during test events:
it closes no contactor, so that a test can play a vehicle on a charger that has a
live socket. Meanwhile `HardwareView` remembers how things really are.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from msgspec import Struct, field

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
    """What carries out orders. The events that it returns happened because of the order."""

    def execute(self, order: Order) -> list[Event]:
        """Carry out one order. Never raises."""


class RealHardware:
    """The backend. An order that fails becomes a fault, never an exception."""

    def __init__(self, backend: EvseBackend) -> None:
        self._backend = backend

    def execute(self, order: Order) -> list[Event]:
        """Give the order to the backend."""
        try:
            if isinstance(order, BeginDiagnostics):
                return self._begin_diagnostics()
            self._give(order)
        except HalError as error:
            _LOGGER.error("%s failed: %s", type(order).__name__, error)
            if isinstance(order, CloseContactor):
                return [FaultRaised(FaultState.CONTACT_DRY_FAILURE)]
        except Exception:
            # A mistake in a backend must not keep the orders that follow from being given.
            _LOGGER.exception("%s failed in the backend", type(order).__name__)
        else:
            return []
        failed: list[Event] = [FaultRaised(FaultState.OTHER)]
        if isinstance(order, BeginDiagnostics):
            failed.append(SelfTestCompleted())
        return failed

    def _give(self, order: Order) -> None:
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
                self._begin_diagnostics()

    def _begin_diagnostics(self) -> list[Event]:
        """Look at what can be looked at from here; the backend tests the rest by itself."""
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
        """Let the residual current device be ready again."""
        device = self._backend.residual_current_device
        if device is not None:
            try:
                device.reset()
            except HalError as error:
                _LOGGER.error("the residual current device cannot be reset: %s", error)
            except Exception:
                _LOGGER.exception("the residual current device cannot be reset")

    def acknowledge_card(self) -> None:
        """Let the reader show that the card was read."""
        reader = self._backend.rfid_reader
        if reader is not None:
            try:
                reader.acknowledge()
            except HalError as error:
                _LOGGER.warning("the card reader does not answer: %s", error)
            except Exception:
                _LOGGER.exception("the card reader does not answer")


def check_meter(meter: Meter, ratings: Ratings) -> list[Event]:
    """Return what is wrong with the meter, or with what it measures while nothing is supplied."""
    try:
        values = meter.read()
    except HalError as error:
        _LOGGER.error("self-test: the meter does not answer: %s", error)
        return [FaultRaised(FaultState.METER_FAILURE)]
    found: set[FaultState] = set()
    # A phase that the meter shows as dead is one that is not connected.
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
    """A contactor that obeys at once, and nothing else."""

    def execute(self, order: Order) -> list[Event]:
        """Pretend to carry out the order."""
        match order:
            case OpenContactor():
                return [ContactorReported(False)]
            case CloseContactor():
                return [ContactorReported(True)]
            case _:
                return []


class HardwareView(Struct):
    """How the hardware really is while a stand-in has its place."""

    pilot: PilotState | None = None
    facts: dict[type[Event], Event] = field(default_factory=dict)
    faults: list[FaultState] = field(default_factory=list)

    def record(self, event: Event) -> None:
        """Remember what the hardware told."""
        match event:
            case PilotChanged(pilot):
                self.pilot = pilot
            case FaultRaised(fault):
                if fault not in self.faults:
                    self.faults.append(fault)
            case FaultCleared(fault):
                self.faults = [
                    left for left in self.faults if fault is not None and left is not fault
                ]
            case ContactorReported() | CableChanged() | BatteryReported() | VehicleIdentified():
                self.facts[type(event)] = event
            case _:
                pass

    def replay(self) -> list[Event]:
        """Return events that bring a machine without vehicle up to date."""
        told: list[Event] = [FaultRaised(fault) for fault in self.faults]
        vehicle = (BatteryReported, VehicleIdentified)
        told += (event for event in self.facts.values() if not isinstance(event, vehicle))
        if self.pilot is not None:
            told.append(PilotChanged(self.pilot))
        told += (event for event in self.facts.values() if isinstance(event, vehicle))
        return told
