"""Test event triggers of the Energy EVSE cluster: a certification test simulates the vehicle.

The triggers work with any backend, because they act on simulated hardware (see
`Charger.enter_test_mode`): no real contactor closes.

Spec: Matter Core 1.3 "TestEventTrigger Command"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from evse_node.charger import Charger
from evse_node.cluster.servers.energy.modes import TIME_OF_USE, EnergyEvseMode, Mode
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    Direction,
    FaultCleared,
    FaultRaised,
    LimitClaimed,
    PilotChanged,
    RfidTapped,
    SelfTestCompleted,
    VehicleIdentified,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.units import Milliamps, MilliwattHours

CLUSTER_ID: Final = 0x0099

_TEST_LIMIT: Final = Milliamps(32_000)
_TEST_CABLE: Final = Milliamps(63_000)
_TEST_CAPACITY: Final = MilliwattHours(70_000_000)
_TEST_VEHICLE_ID: Final = "TEST-VEHICLE-0123456789-ABCDEFGH"
_TEST_CARD: Final = bytes(range(0x00, 0xA0, 0x11))[:10]


class EvseTestEvents:
    """Test event triggers of one charger."""

    def __init__(self, charger: Charger, mode: EnergyEvseMode) -> None:
        self._charger = charger
        self._mode = mode
        self._pilot_before_plug = PilotState.A
        self._pilot_before_demand = PilotState.B
        self._cable_before_plug: Milliamps | None = None
        self._mode_before: Mode | None = None
        self._scenarios: Mapping[int, Callable[[float], None]] = {
            0x00: self._basic,
            0x01: self._basic_clear,
            0x02: self._plug_in,
            0x03: self._plug_in_clear,
            0x04: self._demand,
            0x05: self._demand_clear,
            0x06: self._time_of_use,
            0x21: self._time_of_use_clear,
            0x10: lambda now: self._fault(FaultState.GROUND_FAULT, now),
            0x11: lambda now: self._fault(FaultState.OVER_TEMPERATURE, now),
            0x12: self._fault_clear,
            0x20: self._diagnostics_complete,
            0x30: lambda now: self._battery(20, _TEST_CAPACITY, now),
            0x31: lambda now: self._battery(95, _TEST_CAPACITY, now),
            0x32: lambda now: self._battery(None, None, now),
            0x40: self._vehicle_id,
            0x50: self._card,
        }

    @property
    def triggers(self) -> Mapping[int, Callable[[float], None]]:
        """Actions by 64-bit EventTrigger with endpoint bits zero, called with `now`."""
        return {CLUSTER_ID << 48 | code: action for code, action in self._scenarios.items()}

    def _basic(self, now: float) -> None:
        self._time_of_use_clear(now)  # an earlier test may have been aborted
        self._charger.enter_test_mode(now)
        self._pilot_before_plug = PilotState.A
        self._pilot_before_demand = PilotState.B
        self._cable_before_plug = None
        for claim in (
            LimitClaimed(LimitSource.HARDWARE, _TEST_LIMIT),
            LimitClaimed(LimitSource.CIRCUIT, _TEST_LIMIT),
            LimitClaimed(LimitSource.USER, _TEST_LIMIT, (Direction.CHARGE,)),
        ):
            self._charger.handle(claim, now)

    def _basic_clear(self, now: float) -> None:
        self._charger.leave_test_mode(now)

    def _ensure_test_mode(self, now: float) -> None:
        if not self._charger.is_test_mode:
            self._charger.enter_test_mode(now)

    def _plug_in(self, now: float) -> None:
        self._ensure_test_mode(now)
        self._pilot_before_plug = self._pilot
        self._cable_before_plug = self._charger.state.charge_limits.claim(LimitSource.CABLE)
        self._charger.handle(CableChanged(_TEST_CABLE), now)
        self._charger.handle(PilotChanged(PilotState.B), now)

    def _plug_in_clear(self, now: float) -> None:
        self._ensure_test_mode(now)
        self._charger.handle(PilotChanged(self._pilot_before_plug), now)
        self._charger.handle(CableChanged(self._cable_before_plug), now)

    def _demand(self, now: float) -> None:
        self._ensure_test_mode(now)
        self._pilot_before_demand = self._pilot
        self._charger.handle(PilotChanged(PilotState.C), now)

    def _demand_clear(self, now: float) -> None:
        self._ensure_test_mode(now)
        self._charger.handle(PilotChanged(self._pilot_before_demand), now)

    @property
    def _pilot(self) -> PilotState:
        return self._charger.state.pilot or PilotState.A

    def _time_of_use(self, now: float) -> None:
        if self._mode_before is None:
            self._mode_before = self._mode.current
        self._mode.change_to_tag(TIME_OF_USE, now)

    def _time_of_use_clear(self, now: float) -> None:
        if self._mode_before is not None:
            self._mode.change_to(self._mode_before, now)
            self._mode_before = None

    def _fault(self, fault: FaultState, now: float) -> None:
        self._charger.handle(FaultRaised(fault), now)

    def _fault_clear(self, now: float) -> None:
        self._charger.handle(FaultCleared(), now)

    def _diagnostics_complete(self, now: float) -> None:
        self._charger.handle(SelfTestCompleted(), now)

    def _battery(self, percent: int | None, capacity: MilliwattHours | None, now: float) -> None:
        self._charger.handle(BatteryReported(percent, capacity), now)

    def _vehicle_id(self, now: float) -> None:
        self._charger.handle(VehicleIdentified(_TEST_VEHICLE_ID), now)

    def _card(self, now: float) -> None:
        self._charger.handle(RfidTapped(_TEST_CARD), now)
