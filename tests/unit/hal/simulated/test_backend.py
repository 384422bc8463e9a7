"""Tests of the simulated backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import pytest

from evse_node.errors import HalError
from evse_node.hal.interface import CurrentDerated, HalEvent, capabilities
from evse_node.hal.simulated.backend import SimulatedBackend, find_fault
from evse_node.hal.simulated.electric_vehicle import ElectricCar
from evse_node.hal.simulated.options import create
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    RfidTapped,
    SelfTestCompleted,
    VehicleIdentified,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, MilliwattHours

A, B, C, _, E, F = PilotState
OFFER = Milliamps(16_000)


class Rig:
    """A backend with a manual clock, and its events."""

    def __init__(self, make: Callable[..., SimulatedBackend] = SimulatedBackend) -> None:
        self.now = 50.0
        self.backend = make(clock=lambda: self.now)
        self.events: list[HalEvent] = []
        self.backend.attach(self.events.append)

    def take(self) -> list[HalEvent]:
        events = self.events[:]
        self.events.clear()
        return events

    def pilots(self) -> list[PilotState]:
        return [event.pilot for event in self.take() if isinstance(event, PilotChanged)]

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.backend.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.backend.advance()
        self.now = end
        self.backend.advance()

    def charge(self) -> None:
        self.backend.plug_in()
        self.backend.demand()
        self.backend.control_pilot.offer(OFFER)
        self.backend.contactor.close()
        self.wait(0.1)
        assert self.backend.status()["contactor"] == "closed"
        self.take()


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.take()
    return made


def test_initial_state_is_reported() -> None:
    assert Rig().take() == [
        ContactorReported(False),
        PilotChanged(A),
        BatteryReported(None, None),
    ]


def test_vehicle_plugged_in_before_start_is_reported() -> None:
    car = ElectricCar()
    car.plug_in()
    backend = SimulatedBackend(car=car, cable_ma=Milliamps(20_000))
    events: list[HalEvent] = []
    backend.attach(events.append)
    assert events[:3] == [
        ContactorReported(False),
        CableChanged(Milliamps(20_000)),
        PilotChanged(B),
    ]


def test_plug_in_demand_and_unplug_are_reported(rig: Rig) -> None:
    rig.backend.plug_in()
    assert rig.take() == [
        CableChanged(Milliamps(32_000)),
        PilotChanged(B),
        BatteryReported(40, MilliwattHours(60_000_000)),
        VehicleIdentified("SIMULATED-EV-0001"),
    ]
    rig.backend.demand()
    assert rig.take() == [PilotChanged(C)]
    rig.backend.no_demand()
    assert rig.take() == [PilotChanged(B)]
    rig.backend.unplug()
    assert rig.take() == [
        PilotChanged(A),
        CableChanged(None),
        BatteryReported(None, None),
        VehicleIdentified(None),
    ]


def test_demand_without_vehicle_has_no_effect(rig: Rig) -> None:
    rig.backend.demand()
    assert rig.take() == []


class TestContactor:
    def test_closes_and_opens_after_delay(self, rig: Rig) -> None:
        rig.backend.plug_in()
        rig.backend.demand()
        rig.take()
        rig.backend.control_pilot.offer(OFFER)
        rig.backend.contactor.close()
        rig.wait(0.03)
        assert rig.take() == []
        assert rig.backend.status()["power_mw"] == 0
        rig.wait(0.02)
        assert rig.take() == [ContactorReported(True)]
        assert rig.backend.status()["power_mw"] == 11_040_000 // 3
        rig.backend.contactor.open()
        assert rig.backend.status()["power_mw"] == 0
        assert rig.take() == []
        rig.wait(0.05)
        assert rig.take() == [ContactorReported(False)]

    def test_close_without_ready_vehicle_raises(self, rig: Rig) -> None:
        rig.backend.plug_in()
        with pytest.raises(HalError, match="state B"):
            rig.backend.contactor.close()

    def test_opens_by_itself_without_demand(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.no_demand()
        assert rig.backend.status()["contactor"] == "open"
        assert rig.take() == [PilotChanged(B)]
        rig.wait(0.05)
        assert rig.take() == [ContactorReported(False)]

    def test_open_cancels_pending_close(self, rig: Rig) -> None:
        rig.backend.plug_in()
        rig.backend.demand()
        rig.backend.contactor.close()
        rig.backend.unplug()
        rig.take()
        rig.wait(1)
        assert rig.take() == []

    def test_welded_contactor_stays_closed(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.fault("ContactWetFailure")
        rig.backend.contactor.open()
        rig.wait(1)
        assert rig.take() == []
        assert rig.backend.status()["contactor"] == "closed"
        rig.backend.clear_fault()
        assert rig.take()[:1] == [ContactorReported(False)]

    def test_welding_closes_open_contactor(self, rig: Rig) -> None:
        rig.backend.fault("ContactWetFailure")
        assert rig.take() == [ContactorReported(True)]

    def test_stuck_contactor_stays_open(self, rig: Rig) -> None:
        rig.backend.plug_in()
        rig.backend.demand()
        rig.backend.fault("CONTACT_DRY_FAILURE")
        rig.take()
        rig.backend.contactor.close()
        rig.wait(1)
        assert rig.take() == []


class TestPilot:
    def test_state_f_hides_vehicle(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.control_pilot.signal_unavailable()
        assert rig.take() == [PilotChanged(F)]
        rig.wait(0.05)
        rig.backend.control_pilot.withdraw()
        assert rig.take() == [ContactorReported(False), PilotChanged(C)]

    def test_short_circuit_shows_state_e(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.fault("PilotShortCircuit")
        assert rig.take() == [PilotChanged(E)]
        assert rig.backend.status()["contactor"] == "open"
        rig.backend.clear_fault()
        assert rig.pilots() == [C]


class TestFaults:
    def test_residual_current_opens_at_once(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.fault("ground-fault")
        assert rig.take() == [FaultRaised(FaultState.GROUND_FAULT)]
        assert rig.backend.status()["contactor"] == "open"
        rig.backend.clear_fault()
        assert rig.take() == [FaultCleared()]

    def test_other_faults_are_reported(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.fault("OverTemperature")
        assert rig.take() == [FaultRaised(FaultState.OVER_TEMPERATURE)]
        assert rig.backend.status()["contactor"] == "closed"

    def test_lost_meter_raises(self, rig: Rig) -> None:
        rig.backend.fault("MeterFailure")
        with pytest.raises(HalError):
            rig.backend.meter.read()
        rig.backend.clear_fault()
        rig.backend.meter.read()

    @pytest.mark.parametrize("name", ["GroundFault", "GROUND_FAULT", "ground_fault"])
    def test_fault_is_found_by_any_spelling(self, name: str) -> None:
        assert find_fault(name) is FaultState.GROUND_FAULT

    @pytest.mark.parametrize("name", ["", "NoError", "nonsense"])
    def test_unknown_fault_raises(self, name: str) -> None:
        with pytest.raises(ValueError, match="known faults are"):
            find_fault(name)


class TestMeter:
    def test_counts_imported_energy(self, rig: Rig) -> None:
        rig.charge()
        rig.wait(3600 - 0.1)
        values = rig.backend.meter.read()
        # The contactor took 40 ms.
        assert values.imported_mwh == pytest.approx(3_680_000 * 3_599_960 // 3_600_000, abs=2)
        assert values.exported_mwh == 0
        assert values.power_mw == 3_680_000
        assert values.voltages_mv == (230_000,)
        assert values.currents_ma == (16_000,)

    def test_counts_exported_energy(self, rig: Rig) -> None:
        rig.charge()
        rig.backend.discharger.set_discharge(Milliamps(10_000))  # type: ignore[union-attr]
        before = rig.backend.meter.read()
        rig.wait(3600)
        values = rig.backend.meter.read()
        assert values.exported_mwh == 2_300_000
        assert values.imported_mwh == before.imported_mwh
        assert values.power_mw == -2_300_000
        assert values.currents_ma == (-10_000,)


class TestSpeed:
    def test_speed_accelerates_energy(self) -> None:
        rig = Rig(lambda clock: SimulatedBackend(clock=clock, speed=60))
        rig.charge()
        rig.wait(60)
        assert rig.backend.status()["imported_mwh"] == pytest.approx(3_680_000, rel=0.01)
        assert rig.backend.board.next_deadline() is None

    def test_change_of_speed_keeps_energy(self) -> None:
        rig = Rig()
        rig.charge()
        rig.wait(10)
        lived = rig.backend.status()["simulated_ms"]
        rig.backend.speed = 100.0
        assert rig.backend.status()["simulated_ms"] == lived
        rig.wait(1)
        assert rig.backend.status()["simulated_ms"] == lived + 100_000

    def test_timer_has_lower_limit(self) -> None:
        rig = Rig(lambda clock: SimulatedBackend(clock=clock, speed=100_000))
        rig.charge()
        deadline = rig.backend.next_deadline()
        assert deadline is not None
        assert deadline >= rig.now + 0.05

    def test_speed_must_be_positive(self, rig: Rig) -> None:
        with pytest.raises(ValueError, match="speed"):
            rig.backend.speed = 0


class TestOthers:
    def test_card_is_reported(self, rig: Rig) -> None:
        rig.backend.tap(b"\x01\x02")
        assert rig.take() == [RfidTapped(b"\x01\x02")]

    @pytest.mark.parametrize("uid", [b"", bytes(11)])
    def test_invalid_card_raises(self, rig: Rig, uid: bytes) -> None:
        with pytest.raises(ValueError, match="1 to 10"):
            rig.backend.tap(uid)

    def test_derating_is_reported(self, rig: Rig) -> None:
        rig.backend.derate(Milliamps(10_000))
        assert rig.take() == [CurrentDerated(Milliamps(10_000))]

    def test_self_test_completes(self, rig: Rig) -> None:
        rig.backend.self_test.start_self_test()
        rig.wait(2.9)
        assert rig.take() == []
        rig.wait(0.2)
        assert rig.take() == [SelfTestCompleted()]

    def test_battery_can_be_set(self, rig: Rig) -> None:
        rig.backend.set_battery(soc_percent=55, capacity_mwh=MilliwattHours(10_000_000))
        assert rig.take() == []
        rig.backend.plug_in()
        assert BatteryReported(55, MilliwattHours(10_000_000)) in rig.take()
        rig.backend.set_battery(soc_percent=56)
        assert rig.take() == [BatteryReported(56, MilliwattHours(10_000_000))]

    @pytest.mark.parametrize(
        "wrong", [{"soc_percent": 101}, {"soc_percent": -1}, {"capacity_mwh": 0}]
    )
    def test_invalid_battery_raises(self, rig: Rig, wrong: Mapping[str, int]) -> None:
        with pytest.raises(ValueError, match="is not"):
            rig.backend.set_battery(**wrong)  # type: ignore[arg-type]

    def test_battery_is_reported_at_each_percent(self, rig: Rig) -> None:
        rig.charge()
        rig.wait(3600)
        events = [event for event in rig.take() if isinstance(event, BatteryReported)]
        assert [event.state_of_charge_percent for event in events] == [41, 42, 43, 44, 45, 46]


class TestWithout:
    @pytest.mark.parametrize("code", ["RFID", "V2X", "SOC", "PNC"])
    def test_capability_is_missing(self, code: str) -> None:
        backend = create({"without": [code]})
        assert capabilities(backend) == {"PREF", "RFID", "V2X", "SOC", "PNC"} - {code}

    def test_events_of_missing_feature_are_not_reported(self) -> None:
        without = frozenset({"RFID", "SOC", "PNC"})
        rig = Rig(lambda clock: SimulatedBackend(clock=clock, without=without))
        rig.backend.plug_in()
        rig.backend.tap(b"1")
        kinds = {type(event) for event in rig.take()}
        assert kinds == {ContactorReported, PilotChanged, CableChanged}


async def test_backend_runs_in_event_loop() -> None:
    backend = SimulatedBackend(clock=time.monotonic, speed=1000)
    closed = asyncio.Event()

    def post(event: HalEvent) -> None:
        if event == ContactorReported(True):
            closed.set()

    await backend.start(post)
    backend.plug_in()
    backend.demand()
    backend.control_pilot.offer(OFFER)
    backend.contactor.close()
    await asyncio.wait_for(closed.wait(), 5)
    await backend.stop()
    await backend.stop()
    assert backend.status()["contactor"] == "open"
