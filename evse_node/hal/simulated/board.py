"""A simulated charger board: pilots, contactor with mirror contact, meter, reader, lock.

A vehicle is connected to it. Its contactor behaves like hardware: it takes time, may be welded
or stuck, and opens by itself when the pilot leaves states C and D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.interface import (
    HalEvent,
    HalInbox,
    MeterValues,
    Ratings,
)
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Supply
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
    VehicleIdentified,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, Milliwatts

CONTACTOR_S: Final = 0.04
"""Time of the contactor, and of its mirror contact after that."""
SELF_TEST_S: Final = 3.0
MAINS_FREQUENCY_MILLIHERTZ: Final = 50_000
COOL_MC: Final = 25_000
_HOT_MC: Final = 100_000


class SimulatedBoard(Struct, eq=False, dict=True):
    """All capabilities of `hal.interface` in one object.

    `clock` returns monotonic seconds. `on_order` is called after each order, which may change
    the next deadline, and `on_read` before each reading of a meter.
    """

    car: ElectricCar
    ratings: Ratings
    clock: Callable[[], float]
    on_order: Callable[[], None]
    on_read: Callable[[], None]
    output: PilotOutput = PilotOutput.X1
    offered_ma: Milliamps = Milliamps(0)
    is_closed: bool = False
    is_mirror_closed: bool = False
    is_locked: bool = False
    is_welded: bool = False
    is_stuck_open: bool = False
    is_pilot_shorted: bool = False
    is_meter_lost: bool = False
    cable_ma: Milliamps | None = None
    temperature_mc: int = COOL_MC
    house_mw: Milliwatts | None = Milliwatts(0)
    cards_read: int = 0
    _discharge_ma: Milliamps | None = None
    _post: HalInbox | None = None
    _closes_at: float | None = None
    _mirror_at: float | None = None
    _self_test_until: float | None = None
    _reported_pilot: PilotState | None = None
    _reported_cable_ma: Milliamps | None = None
    _reported_battery: BatteryReported | None = None
    _reported_vehicle_id: str | None = None

    def connect(self, post: HalInbox | None) -> None:
        """Post events to this inbox from now on, beginning with the present state."""
        self._post = post
        if post is not None:
            self._reported_pilot = None
            self._reported_cable_ma = None
            self._reported_battery = None
            self._reported_vehicle_id = None
            post(ContactorReported(self.is_mirror_closed))
            self.settle()

    # ControlPilot

    def offer(self, current_ma: Milliamps) -> None:
        self.output, self.offered_ma = PilotOutput.X2, current_ma
        self.on_order()

    def withdraw(self) -> None:
        self.output, self.offered_ma = PilotOutput.X1, Milliamps(0)
        self.on_order()

    def signal_unavailable(self) -> None:
        self.output, self.offered_ma = PilotOutput.F, Milliamps(0)
        self.on_order()

    # Contactor

    def open(self) -> None:
        self._drop()
        self.on_order()

    def close(self) -> None:
        if self.pilot not in (PilotState.C, PilotState.D):
            raise HalError(f"the contactor stays open in state {self.pilot.value}")
        if not self.is_stuck_open and not self.is_closed:
            self._closes_at = self.clock() + CONTACTOR_S
        self.on_order()

    def finish_opening(self) -> None:
        """Finish a pending opening at once, without a report."""
        if self._mirror_at is not None:
            self._mirror_at = None
            self.is_mirror_closed = False

    def _drop(self) -> None:
        self._closes_at = None
        if self.is_closed and not self.is_welded:
            self.is_closed = False
            self._mirror_at = self.clock() + CONTACTOR_S

    # CableLock

    def lock(self) -> None:
        self.is_locked = True

    def unlock(self) -> None:
        self.is_locked = False

    # Meter

    def read(self) -> MeterValues:
        """Return totals and the present power."""
        if self.is_meter_lost:
            raise HalError("the energy meter does not answer")
        self.on_read()
        car = self.car
        used = min(car.phases, self.ratings.phases)
        current_ma = car.current_ma
        return MeterValues(
            car.charged.total_mwh,
            car.discharged.total_mwh,
            Milliwatts(car.power_mw),
            (self.ratings.nominal_voltage_mv,) * self.ratings.phases,
            (current_ma,) * used + (Milliamps(0),) * (self.ratings.phases - used),
            MAINS_FREQUENCY_MILLIHERTZ,
        )

    # GridMeter

    def read_grid_power_mw(self) -> Milliwatts:
        """Return the power of house (`house_mw`) and vehicle together."""
        if self.house_mw is None:
            raise HalError("the meter at the grid connection does not answer")
        self.on_read()
        return Milliwatts(self.house_mw + self.car.power_mw)

    # The other capabilities

    def acknowledge(self) -> None:
        self.cards_read += 1

    def reset(self) -> None:
        """Do nothing: faults are cleared by `repair`."""

    def read_millicelsius(self) -> int:
        return self.temperature_mc

    def start_self_test(self) -> None:
        """Report completion after some seconds."""
        self._self_test_until = self.clock() + SELF_TEST_S
        self.on_order()

    def set_discharge(self, current_ma: Milliamps | None) -> None:
        self._discharge_ma = current_ma
        self.on_order()

    def battery(self) -> BatteryReported:
        """Return the battery of the connected vehicle."""
        if not self.car.is_plugged_in:
            return BatteryReported(None, None)
        return BatteryReported(self.car.state_of_charge_percent, self.car.capacity_mwh)

    def vehicle_id(self) -> str | None:
        """Return the identifier of the connected vehicle."""
        return self.car.vehicle_id if self.car.is_plugged_in else None

    # Simulation

    @property
    def pilot(self) -> PilotState:
        """The pilot's state, as measured by the board."""
        if self.output is PilotOutput.F:
            return PilotState.F
        if self.is_pilot_shorted:
            return PilotState.E
        if not self.car.is_plugged_in:
            return PilotState.A
        return PilotState.C if self.car.is_asking else PilotState.B

    def next_deadline(self) -> float | None:
        """Return the time of the next pending change."""
        moments = (self._closes_at, self._mirror_at, self._self_test_until)
        return min((moment for moment in moments if moment is not None), default=None)

    def move(self) -> None:
        """Carry out the changes that are due."""
        now = self.clock()
        if self._closes_at is not None and now >= self._closes_at:
            self._closes_at = None
            self.is_closed = self.is_mirror_closed = True
            self.report_event(ContactorReported(True))
        if self._mirror_at is not None and now >= self._mirror_at:
            self._mirror_at = None
            self.is_mirror_closed = False
            self.report_event(ContactorReported(False))
        if self._self_test_until is not None and now >= self._self_test_until:
            self._self_test_until = None
            self._report_findings()
            self.report_event(SelfTestCompleted())

    def _report_findings(self) -> None:
        """Report the faults that a self-test of contactor and pilot finds."""
        findings = {
            FaultState.CONTACT_WET_FAILURE: self.is_welded,
            FaultState.CONTACT_DRY_FAILURE: self.is_stuck_open,
            FaultState.PILOT_SHORT_CIRCUIT: self.is_pilot_shorted,
        }
        for fault, is_found in findings.items():
            if is_found:
                self.report_event(FaultRaised(fault))

    def settle(self) -> None:
        """Update vehicle, contactor and reports after any change."""
        self.car.supply = Supply(
            self.is_closed,
            self.offered_ma,
            self._discharge_ma,
            self.ratings.nominal_voltage_mv,
            self.ratings.phases,
        )
        self.car.refresh()
        if self.pilot not in (PilotState.C, PilotState.D) and (
            self.is_closed or self._closes_at is not None
        ):
            self._drop()
            self.car.supply.is_powered = self.is_closed
            self.car.refresh()
        if self._post is not None:
            self._report()

    def _report(self) -> None:
        """Report changes.

        The pilot's pin is the shortest: it connects after the cable, and disconnects before it.
        """
        if self.cable_ma is not None:
            self._report_cable()
        if self._reported_pilot is not self.pilot:
            self._reported_pilot = self.pilot
            self.report_event(PilotChanged(self.pilot))
        self._report_cable()
        battery = self.battery()
        if self._reported_battery != battery:
            self._reported_battery = battery
            self.report_event(battery)
        vehicle_id = self.vehicle_id()
        if self._reported_vehicle_id != vehicle_id:
            self._reported_vehicle_id = vehicle_id
            self.report_event(VehicleIdentified(vehicle_id))

    def _report_cable(self) -> None:
        if self._reported_cable_ma != self.cable_ma:
            self._reported_cable_ma = self.cable_ma
            self.report_event(CableChanged(self.cable_ma))

    def break_down(self, fault: FaultState) -> None:
        """Cause a fault. Mechanical ones show by their effects, the others are reported."""
        match fault:
            case FaultState.CONTACT_WET_FAILURE:
                self.is_welded = True
                if not self.is_closed:
                    self.is_closed = self.is_mirror_closed = True
                    self.report_event(ContactorReported(True))
            case FaultState.CONTACT_DRY_FAILURE:
                self.is_stuck_open = True
                self._drop()
            case FaultState.PILOT_SHORT_CIRCUIT:
                self.is_pilot_shorted = True
            case FaultState.METER_FAILURE:
                self.is_meter_lost = True
                self.report_event(FaultRaised(fault))
            case FaultState.OVER_TEMPERATURE:
                self.temperature_mc = _HOT_MC
                self.report_event(FaultRaised(fault))
            case FaultState.GROUND_FAULT | FaultState.EMERGENCY_STOP:
                self._drop()  # protection opens by itself
                self.report_event(FaultRaised(fault))
            case _:
                self.report_event(FaultRaised(fault))

    def repair(self) -> None:
        """Remove all faults."""
        was_welded = self.is_welded
        self.temperature_mc = min(self.temperature_mc, COOL_MC)
        self.is_welded = self.is_stuck_open = self.is_pilot_shorted = self.is_meter_lost = False
        if was_welded and self.is_closed:
            self.is_closed = self.is_mirror_closed = False
            self.report_event(ContactorReported(False))
        self.settle()
        self.report_event(FaultCleared())

    def report_event(self, event: HalEvent) -> None:
        """Post an event while an inbox is connected."""
        if self._post is not None:
            self._post(event)
