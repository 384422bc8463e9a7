"""Overtemperature, overcurrent and a lost meter; faults after a restart; cards; the self-test."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from evse_node.charger import ChargerSettings
from evse_node.charger.hardware import check_meter
from evse_node.charger.hardware_monitor import HardwareMonitor, MonitorSettings
from evse_node.errors import HalError
from evse_node.hal.interface import CurrentDerated, MeterValues, Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import (
    Disable,
    EnableCharging,
    FaultCleared,
    FaultRaised,
    LimitClaimed,
    RfidTapped,
    StartDiagnostics,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import ContactorState
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps, MilliwattHours
from tests.support.charger.charger_host import START_UTC_S, ChargerHost, charge, restarted

ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(32_000))
CARD = b"\x01\x02\x03\x04"


@pytest.fixture
def host() -> ChargerHost:
    host = ChargerHost()
    host.backend.car.charger_maximum_ma = Milliamps(32_000)
    charge(host)
    host.charger.handle(ENABLE, host.now)
    host.run(10)
    return host


def limit(host: ChargerHost) -> tuple[int, LimitSource | None]:
    lowest = host.charger.state.charge_limits.lowest
    return lowest.current_ma, lowest.source


class TestTemperature:
    @pytest.mark.parametrize(
        ("celsius", "current_ma"),
        [(64.9, 32_000), (65.1, 31_000), (72.5, 19_000), (79.9, 6_000), (84.9, 6_000)],
    )
    def test_warm_board_derates(self, host: ChargerHost, celsius: float, current_ma: int) -> None:
        host.backend.set_temperature(celsius)
        host.run(10)
        assert limit(host)[0] == current_ma
        assert host.backend.status()["offered_ma"] == current_ma
        assert host.charger.state.fault is FaultState.NO_ERROR

    def test_hot_board_stops_until_cooled_down(self, host: ChargerHost) -> None:
        host.backend.set_temperature(85)
        host.run(2)
        assert host.charger.state.fault is FaultState.OVER_TEMPERATURE
        assert not host.backend.board.is_closed
        host.backend.set_temperature(76)
        host.run(60)
        host.charger.acknowledge_faults(host.now)
        assert host.charger.state.fault is FaultState.OVER_TEMPERATURE
        host.backend.set_temperature(74)
        host.run(10)
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING
        assert limit(host) == (12_000, LimitSource.TEMPERATURE)
        host.backend.set_temperature(20)
        host.run(10)
        assert limit(host) == (32_000, LimitSource.HARDWARE)

    def test_current_has_hysteresis(self, host: ChargerHost) -> None:
        host.backend.set_temperature(72.5)
        host.run(2)
        seen = set()
        for celsius in (72.4, 72.0, 71.0, 72.5, 70.7):
            host.backend.set_temperature(celsius)
            host.run(2)
            seen.add(limit(host)[0])
        assert seen == {19_000}

    def test_limit_of_hardware_applies_as_well(self, host: ChargerHost) -> None:
        host.charger.receive(CurrentDerated(Milliamps(10_000)), host.now)
        assert limit(host) == (10_000, LimitSource.TEMPERATURE)
        host.backend.set_temperature(79)
        host.run(2)
        assert limit(host)[0] == 7_000
        host.backend.set_temperature(20)
        host.charger.receive(CurrentDerated(None), host.now)
        host.run(2)
        assert limit(host)[0] == 32_000

    def test_lost_thermometer_limits_to_minimum(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> int:
            raise HalError("torn off")

        monkeypatch.setattr(host.backend.board, "read_millicelsius", fail)
        host.run(10)
        assert host.backend.status()["offered_ma"] == 6_000
        monkeypatch.undo()
        host.run(10)
        assert host.backend.status()["offered_ma"] == 32_000

    def test_temperature_is_ignored_in_test_mode(self, host: ChargerHost) -> None:
        host.backend.set_temperature(90)
        host.run(2)
        host.charger.enter_test_mode(host.now)
        assert host.charger.state.fault is FaultState.NO_ERROR
        assert host.charger.state.charge_limits.claim(LimitSource.TEMPERATURE) is None
        host.charger.leave_test_mode(host.now)
        assert host.charger.state.fault is FaultState.OVER_TEMPERATURE
        assert host.charger.state.charge_limits.claim(LimitSource.TEMPERATURE) == 6_000


class TestOverCurrent:
    def test_overcurrent_is_fault(self, host: ChargerHost) -> None:
        host.backend.car.habits.heeds_offer = False
        host.charger.handle(replace(ENABLE, maximum_ma=Milliamps(16_000)), host.now)
        host.run(9)
        assert host.charger.state.fault is FaultState.NO_ERROR
        host.run(9)
        assert host.charger.state.fault is FaultState.OVER_CURRENT
        assert not host.backend.board.is_closed
        host.backend.unplug()
        host.run(1)
        assert host.charger.state.fault is FaultState.NO_ERROR

    @pytest.mark.parametrize("currents", [(40_000, 0, 0), (0, 0, 40_000), (0, -40_000, 0)])
    def test_overcurrent_on_one_phase_is_fault(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch, currents: tuple[int, ...]
    ) -> None:
        board = host.backend.board
        values = replace(board.read(), currents_ma=tuple(map(Milliamps, currents)))
        monkeypatch.setattr(board, "read", lambda: values)
        host.run(9)
        assert host.charger.state.fault is FaultState.NO_ERROR
        host.run(3)
        assert host.charger.state.fault is FaultState.OVER_CURRENT
        assert not board.is_closed

    def test_vehicle_that_follows_a_series_of_offers_in_time_is_allowed(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        board, read = host.backend.board, host.backend.board.read
        offers = [16_000, 16_000, 12_000, 9_000, 6_000]
        for before, offer in pairwise(offers):
            host.charger.handle(replace(ENABLE, maximum_ma=Milliamps(offer)), host.now)
            slow = replace(read(), currents_ma=(Milliamps(before),))
            monkeypatch.setattr(board, "read", lambda slow=slow: slow)
            host.run(5)
        monkeypatch.undo()
        host.run(60)
        assert host.charger.state.fault is FaultState.NO_ERROR
        assert board.is_closed

    def test_current_within_tolerance_is_allowed(self, host: ChargerHost) -> None:
        host.charger.handle(replace(ENABLE, maximum_ma=Milliamps(28_700)), host.now)
        host.backend.car.habits.heeds_offer = False
        host.run(60)
        assert host.charger.state.fault is FaultState.NO_ERROR

    def test_slow_response_to_lower_offer_is_allowed(self, host: ChargerHost) -> None:
        host.backend.car.habits.heeds_offer = False
        host.charger.handle(replace(ENABLE, maximum_ma=Milliamps(16_000)), host.now)
        host.run(9)
        host.backend.car.habits.heeds_offer = True
        host.run(60)
        assert host.charger.state.fault is FaultState.NO_ERROR


class TestMeter:
    def test_lost_meter_is_fault_while_energy_flows(self, host: ChargerHost) -> None:
        host.backend.board.is_meter_lost = True
        host.run(1.1)
        assert host.charger.state.fault is FaultState.METER_FAILURE
        assert not host.backend.board.is_closed
        host.charger.acknowledge_faults(host.now)
        assert host.charger.state.fault is FaultState.METER_FAILURE
        host.backend.board.is_meter_lost = False
        host.run(10)
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING

    def test_defect_of_backend_is_lost_meter(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> MeterValues:
            raise ZeroDivisionError

        monkeypatch.setattr(host.backend.board, "read", fail)
        host.run(2)
        assert host.charger.state.fault is FaultState.METER_FAILURE

    def test_session_counts_from_first_reading_when_started_without_meter(self) -> None:
        now = 1000.0
        backend = SimulatedBackend(clock=lambda: now)
        backend.car.charged.total_mwh = MilliwattHours(8_000_000)
        backend.board.is_meter_lost = True
        host = ChargerHost(backend=backend, now=now)
        backend._clock = backend.board.clock = lambda: host.now
        backend.plug_in()
        backend.board.is_meter_lost = False
        host.run(5)
        session = host.charger.state.session
        assert session is not None
        assert host.charger.state.meter.imported_mwh == 8_000_000
        assert session.energy_charged_mwh(host.charger.state.meter) == 0

    def test_restored_session_continues_without_meter(self, host: ChargerHost) -> None:
        host.run(3600)
        host.charger.save(host.now)
        total_mwh = host.backend.car.charged.total_mwh
        host.backend.car.unplug()
        backend = SimulatedBackend(clock=lambda: host.now, car=host.backend.car)
        backend.car.plug_in()
        backend.board.is_meter_lost = True
        again = ChargerHost(store=host.store, backend=backend, now=host.now)
        session = again.charger.state.session
        assert session is not None
        assert session.energy_charged_mwh(again.charger.state.meter) == total_mwh
        backend.board.is_meter_lost = False
        again.charger.refresh_meter(again.now)
        assert again.charger.state.meter == MeterReading(total_mwh, MilliwattHours(0))
        assert session.energy_charged_mwh(again.charger.state.meter) == total_mwh
        assert again.charger.state.fault is FaultState.NO_ERROR


class TestFaultsAfterRestart:
    def test_fault_survives_restart(self, host: ChargerHost) -> None:
        host.backend.fault("GroundFault")
        again = restarted(host)
        snapshot = again.charger.snapshot()
        assert snapshot.fault is FaultState.GROUND_FAULT
        assert snapshot.supply_state is SupplyState.DISABLED_ERROR
        assert snapshot.state is State.FAULT
        again.run(60)
        assert again.backend.status()["contactor"] == "open"
        assert again.backend.status()["output"] == "X1"
        again.backend.clear_fault()
        again.run(5)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        assert restarted(again).charger.snapshot().fault is FaultState.NO_ERROR

    def test_all_faults_survive_in_order(self, host: ChargerHost) -> None:
        host.backend.fault("GroundFault")
        host.backend.fault("EmergencyStop")
        faults = (FaultState.GROUND_FAULT, FaultState.EMERGENCY_STOP)
        assert restarted(host).charger.state.faults == faults

    def test_monitored_fault_ends_with_its_cause(self, host: ChargerHost) -> None:
        host.backend.set_temperature(90)
        host.run(2)
        assert host.charger.state.fault is FaultState.OVER_TEMPERATURE
        again = restarted(host)
        assert again.backend.board.temperature_mc == 25_000
        assert again.charger.state.fault is FaultState.NO_ERROR

    def test_meter_failure_ends_when_meter_is_back(self, host: ChargerHost) -> None:
        host.backend.board.is_meter_lost = True
        host.run(2)
        assert host.charger.state.fault is FaultState.METER_FAILURE
        again = restarted(host)
        again.run(2)
        assert again.charger.state.fault is FaultState.NO_ERROR

    def test_fault_of_vehicle_ends_when_it_left(self, host: ChargerHost) -> None:
        host.charger.handle(FaultRaised(FaultState.OVER_CURRENT), host.now)
        host.backend.car.unplug()
        assert restarted(host).charger.state.fault is FaultState.NO_ERROR

    @pytest.mark.parametrize("damage", [b"", b"[]", b'{"faults":["Nonsense"]}', b'{"faults":1}'])
    def test_damaged_record_is_fault(self, damage: bytes) -> None:
        host = ChargerHost(store=MemoryStore({"evse/faults": damage}))
        assert host.charger.state.faults == (FaultState.OTHER,)
        host.charger.acknowledge_faults(host.now)
        assert host.charger.state.faults == ()

    def test_fault_of_test_mode_is_not_stored(self, host: ChargerHost) -> None:
        host.backend.fault("GroundFault")
        host.charger.enter_test_mode(host.now)
        host.charger.handle(FaultRaised(FaultState.OVER_VOLTAGE), host.now)
        host.charger.handle(Disable(), host.now)
        assert restarted(host).charger.state.faults == (FaultState.GROUND_FAULT,)
        host.charger.leave_test_mode(host.now)
        assert host.charger.state.faults == (FaultState.GROUND_FAULT,)

    def test_fault_cleared_during_test_mode_is_gone(self, host: ChargerHost) -> None:
        host.charger.receive(FaultRaised(FaultState.GROUND_FAULT), host.now)
        host.charger.enter_test_mode(host.now)
        host.run(1)
        host.charger.receive(FaultCleared(FaultState.GROUND_FAULT), host.now)
        host.charger.leave_test_mode(host.now)
        assert host.charger.state.faults == ()
        assert restarted(host).charger.state.faults == ()


class TestCards:
    def host(self, store: MemoryStore | None = None) -> ChargerHost:
        return ChargerHost(store=store, allowed_cards=frozenset({CARD}))

    def test_authorization_survives_restart_with_session(self) -> None:
        host = self.host()
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        assert host.charger.snapshot().is_card_awaited
        host.backend.tap(CARD)
        host.run(1)
        assert host.charger.snapshot().contactor is ContactorState.CLOSED
        backend = SimulatedBackend(clock=lambda: host.now, car=host.backend.car)
        again = ChargerHost(
            store=host.store, backend=backend, now=host.now, allowed_cards=frozenset({CARD})
        )
        assert again.charger.state.state is State.PLUGGED_IN_CHARGING
        backend.unplug()
        backend.plug_in()
        backend.demand()
        assert again.charger.state.state is State.PLUGGED_IN_DEMAND

    @pytest.mark.parametrize(("outage_s", "is_kept"), [(10, True), (230, True), (310, False)])
    def test_authorization_ends_with_long_outage(self, outage_s: int, is_kept: bool) -> None:
        host = self.host()
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.tap(CARD)
        ran_s = 3_599
        host.run(ran_s)
        again = ChargerHost(
            store=host.store,
            backend=SimulatedBackend(clock=lambda: host.now, car=host.backend.car),
            now=host.now,
            allowed_cards=frozenset({CARD}),
            unix_s=START_UTC_S + ran_s + outage_s,
        )
        assert again.charger.state.is_authorized is is_kept

    def test_authorization_without_vehicle_does_not_survive_restart(self) -> None:
        host = self.host()
        host.backend.tap(CARD)
        assert host.charger.state.is_authorized
        assert not self.host(host.store).charger.state.is_authorized

    def test_test_mode_requires_no_card(self) -> None:
        host = self.host()
        host.charger.enter_test_mode(host.now)
        assert not host.charger.state.is_card_awaited
        host.charger.handle(RfidTapped(CARD), host.now)
        host.charger.leave_test_mode(host.now)
        assert host.charger.state.is_card_awaited


class TestSelfTest:
    @pytest.mark.parametrize(
        "fault", ["ContactWetFailure", "ContactDryFailure", "PilotShortCircuit", "MeterFailure"]
    )
    def test_self_test_finds_faults(self, fault: str) -> None:
        host = ChargerHost()
        board = host.backend.board
        setattr(
            board,
            {
                "ContactWetFailure": "is_welded",
                "ContactDryFailure": "is_stuck_open",
                "PilotShortCircuit": "is_pilot_shorted",
                "MeterFailure": "is_meter_lost",
            }[fault],
            True,
        )
        host.charger.handle(StartDiagnostics(), host.now)
        host.run(4)
        assert fault in [each.value for each in host.charger.state.faults]
        assert not host.charger.state.is_diagnosing

    def test_meter_readings_are_checked(self) -> None:
        def findings(voltages: tuple[int, ...], current_ma: int = 0) -> list[str]:
            values = MeterValues(0, 0, 0, voltages, (current_ma,) * len(voltages))  # type: ignore[arg-type]

            class Stub:
                def read(self) -> MeterValues:
                    return values

            found = check_meter(Stub(), Ratings())
            return [event.fault.value for event in found if isinstance(event, FaultRaised)]

        assert findings((230_000, 0, 0)) == []
        assert findings(()) == ["PowerLoss"]
        assert findings((5_000,)) == ["PowerLoss"]
        assert findings((180_000,)) == ["UnderVoltage"]
        assert findings((230_000, 290_000, 230_000)) == ["OverVoltage"]
        assert findings((230_000,), 6_000) == ["ContactWetFailure"]


def test_monitor_has_no_deadline_while_idle() -> None:
    host = ChargerHost()
    monitor = HardwareMonitor(host.backend, MonitorSettings())
    assert monitor.next_deadline(host.charger.state) is None
    host.backend.set_temperature(70)
    _, last = monitor.poll(host.charger.state, 5.0)
    assert last == [LimitClaimed(LimitSource.TEMPERATURE, Milliamps(23_000))]
    assert monitor.next_deadline(host.charger.state) == 6.0
    assert ChargerSettings().monitor == MonitorSettings()


def test_commands_without_vehicle_do_not_read_meter_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = ChargerHost()
    board, reads = host.backend.board, 0
    read = board.read

    def count() -> MeterValues:
        nonlocal reads
        reads += 1
        return read()

    monkeypatch.setattr(board, "read", count)
    for _ in range(20):
        host.charger.handle(ENABLE, host.now)
        host.charger.handle(Disable(), host.now)
    assert reads == 0
    host.now += 1.0
    host.charger.handle(ENABLE, host.now)
    assert reads == 1
    # An explicit request, and a connected vehicle, always read the meter.
    host.charger.refresh_meter(host.now)
    assert reads == 2
    host.charger.handle(Disable(), host.now)
    host.backend.plug_in()
    host.backend.demand()
    reads = 0
    host.charger.handle(ENABLE, host.now)
    assert reads > 0
