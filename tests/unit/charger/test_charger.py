"""A charger with a simulated vehicle: sessions, hardware faults, clock and processing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.charger import Charger, ChargerSettings, Snapshot
from evse_node.errors import HalError
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import EnergyTransferStarted, EvNotDetected
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import (
    Disable,
    EnableDischarging,
    FaultRaised,
    LimitClaimed,
    PilotChanged,
    RfidTapped,
    StartDiagnostics,
    Timer,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState, Permission
from evse_node.state_machine.targets import ChargingTargetSchedule
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import EpochSeconds, Milliamps
from tests.support.charger.charger_host import ENABLE, START_UTC_S, ChargerHost, charge


@pytest.fixture
def host() -> ChargerHost:
    return ChargerHost()


class TestSession:
    def test_session_runs_from_plug_in_to_unplug(self, host: ChargerHost) -> None:
        charge(host)
        assert host.backend.status()["offered_ma"] == 16_000
        assert host.backend.status()["is_locked"]
        host.run(3599)
        host.backend.no_demand()
        host.backend.unplug()
        host.run(1)
        assert host.backend.status()["contactor"] == "open"
        assert not host.backend.status()["is_locked"]
        [gone] = [
            notification
            for notification in host.notifications
            if isinstance(notification, EvNotDetected)
        ]
        assert gone.duration_s == 3600
        assert gone.energy_charged_mwh == host.backend.status()["imported_mwh"]
        assert gone.energy_charged_mwh == pytest.approx(3_680_000, rel=1e-4)

    def test_offer_is_limited_by_cable(self, host: ChargerHost) -> None:
        host.backend.cable_ma = Milliamps(13_000)
        charge(host)
        assert host.backend.status()["offered_ma"] == 13_000
        assert host.charger.snapshot().limit.source is LimitSource.CABLE

    def test_offer_follows_user_limit_within_five_seconds(self, host: ChargerHost) -> None:
        charge(host)
        host.charger.handle(LimitClaimed(LimitSource.USER, Milliamps(8_000)), host.now)
        assert host.backend.status()["offered_ma"] == 16_000
        host.run(5)
        assert host.backend.status()["offered_ma"] == 8_000
        assert host.backend.status()["current_ma"] == 8_000

    def test_full_vehicle_ends_demand(self, host: ChargerHost) -> None:
        host.backend.set_battery(soc_percent=99)
        charge(host)
        host.run(4 * 3600)
        snapshot = host.charger.snapshot()
        assert snapshot.state is State.PLUGGED_IN_NO_DEMAND
        assert snapshot.vehicle.state_of_charge_percent == 100

    def test_discharging_exports_energy(self, host: ChargerHost) -> None:
        host.charger.handle(EnableDischarging(None, Milliamps(10_000)), host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(3600)
        snapshot = host.charger.snapshot()
        assert snapshot.state is State.PLUGGED_IN_DISCHARGING
        assert host.backend.status()["power_mw"] == -2_300_000
        assert host.backend.status()["exported_mwh"] == pytest.approx(2_300_000, rel=1e-3)

    def test_derating_limits_current(self, host: ChargerHost) -> None:
        charge(host)
        host.backend.derate(Milliamps(6_000))
        assert host.charger.snapshot().limit.source is LimitSource.TEMPERATURE
        host.backend.derate(None)
        assert host.charger.snapshot().limit.source is LimitSource.COMMAND


class TestHardwareFaults:
    def test_welded_contactor_is_fault_and_keeps_plug_locked(self, host: ChargerHost) -> None:
        charge(host)
        host.backend.fault("ContactWetFailure")
        host.backend.unplug()
        host.run(1)
        assert host.charger.snapshot().fault is FaultState.CONTACT_WET_FAILURE
        assert host.backend.status()["is_locked"]

    def test_contactor_stuck_open_is_fault(self, host: ChargerHost) -> None:
        host.backend.fault("ContactDryFailure")
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(1)
        assert host.charger.snapshot().fault is FaultState.CONTACT_DRY_FAILURE
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED_ERROR

    @pytest.mark.parametrize("order", ["lock", "offer"])
    def test_contactor_stays_open_when_earlier_order_fails(
        self, host: ChargerHost, order: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*given: object) -> None:
            raise HalError("jammed")

        board, closings = host.backend.board, 0
        close = board.close

        def count() -> None:
            nonlocal closings
            closings += 1
            close()

        monkeypatch.setattr(board, order, fail)
        monkeypatch.setattr(board, "close", count)
        host.backend.plug_in()
        host.backend.demand()
        host.charger.handle(ENABLE, host.now)
        assert closings == 0
        snapshot = host.charger.snapshot()
        assert snapshot.faults == (FaultState.OTHER,)
        assert snapshot.contactor is ContactorState.OPEN
        assert Timer.CONTACTOR not in host.charger.state.timers
        host.run(60)
        assert host.charger.snapshot().faults == (FaultState.OTHER,)
        # It closes once the hardware is repaired.
        monkeypatch.undo()
        host.charger.acknowledge_faults(host.now)
        host.run(10)
        assert host.charger.snapshot().contactor is ContactorState.CLOSED

    def test_contactor_stays_open_on_overtemperature(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.backend.plug_in()
        host.backend.demand()
        host.backend.set_temperature(90)
        monkeypatch.setattr(host.backend.board, "close", lambda: pytest.fail("closed"))
        host.charger.handle(ENABLE, host.now)
        assert host.charger.snapshot().faults == (FaultState.OVER_TEMPERATURE,)
        assert host.charger.snapshot().contactor is ContactorState.OPEN

    def test_ground_fault_opens_contactor_until_cleared(self, host: ChargerHost) -> None:
        charge(host)
        host.backend.fault("GroundFault")
        host.run(1)
        assert host.charger.snapshot().fault is FaultState.GROUND_FAULT
        assert host.charger.snapshot().contactor is ContactorState.OPEN
        host.backend.clear_fault()
        host.run(10)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        assert host.charger.snapshot().contactor is ContactorState.CLOSED

    def test_lost_meter_is_fault_until_cleared(self, host: ChargerHost) -> None:
        charge(host)
        host.backend.board.is_meter_lost = True
        host.run(20)
        assert host.charger.snapshot().fault is FaultState.METER_FAILURE
        assert host.charger.meter_values(host.now) is None
        host.backend.clear_fault()
        assert host.charger.snapshot().fault is FaultState.NO_ERROR
        assert host.charger.meter_values(host.now) is not None

    @pytest.mark.parametrize(
        ("order", "fault"),
        [("close", FaultState.CONTACT_DRY_FAILURE), ("offer", FaultState.OTHER)],
    )
    def test_failed_order_is_fault(
        self, monkeypatch: pytest.MonkeyPatch, order: str, fault: FaultState
    ) -> None:
        host = ChargerHost()

        def fail(*given: object) -> None:
            raise HalError("broken")

        monkeypatch.setattr(host.backend.board, order, fail)
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(1)
        assert host.charger.snapshot().fault is fault
        assert host.backend.status()["contactor"] == "open"

    def test_defect_of_backend_is_fault(
        self, monkeypatch: pytest.MonkeyPatch, host: ChargerHost
    ) -> None:
        charge(host)

        def fail() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(host.backend.board, "withdraw", fail)
        host.charger.handle(Disable(), host.now)
        host.run(1)
        assert host.charger.snapshot().fault is FaultState.OTHER
        assert host.backend.status()["contactor"] == "open"

    def test_endless_events_cut_power(
        self, monkeypatch: pytest.MonkeyPatch, host: ChargerHost
    ) -> None:
        charge(host)
        host.charger.observers.clear()
        monkeypatch.setattr(
            "evse_node.charger.charger.Charger._next_planned_event",
            lambda charger, now: RfidTapped(b"1"),
        )
        host.charger.on_timer(host.now)
        assert host.charger.snapshot().fault is FaultState.OTHER
        assert host.backend.status()["contactor"] == "open"

    def test_endless_events_are_dropped(self, host: ChargerHost) -> None:
        host.charger._driver.add([RfidTapped(b"1")] * 3_000)
        host.charger.on_timer(host.now)
        assert host.charger.snapshot().faults == (FaultState.OTHER,)
        host.notifications.clear()
        host.charger.on_timer(host.now)
        assert host.notifications == []

    @pytest.mark.parametrize("cause", ["planning", "estimation"])
    def test_error_in_reading_or_planning_opens_contactor_and_keeps_events(
        self,
        host: ChargerHost,
        cause: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        charge(host)
        board, planner = host.backend.board, host.charger._planner
        assert board.is_closed

        def fail(*given: object, **options: object) -> None:
            raise ZeroDivisionError

        if cause == "planning":
            host.charger.set_targets([ChargingTargetSchedule(0x7F, ())], host.now)
            monkeypatch.setattr(planner, "next_event", fail)
        else:
            monkeypatch.setattr(planner, "observe", fail)
        host.run(5)
        assert host.charger.snapshot().faults == (FaultState.OTHER,)
        assert not board.is_closed
        host.backend.unplug()
        host.run(5)
        assert host.charger.snapshot().pilot is PilotState.A
        assert caplog.text.count("invalid reading, or error in planning") == 1

    def test_error_in_planning_keeps_limit_of_hardware(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The limit is claimed once, so that losing the event would lose the limit."""
        charge(host)

        def fail(*given: object, **options: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(host.charger._planner, "observe", fail)
        host.backend.derate(Milliamps(10_000))
        host.run(1)
        assert host.charger.snapshot().faults == (FaultState.OTHER,)
        limits = host.charger.state.charge_limits
        assert limits.claim(LimitSource.TEMPERATURE) == 10_000

    @pytest.mark.parametrize("is_test_mode", [False, True])
    def test_fault_found_by_machine_is_logged_except_in_test_mode(
        self, host: ChargerHost, caplog: pytest.LogCaptureFixture, is_test_mode: bool
    ) -> None:
        if is_test_mode:
            host.charger.enter_test_mode(host.now)
        host.charger.handle(PilotChanged(PilotState.E), host.now)
        assert host.charger.snapshot().fault is FaultState.PILOT_SHORT_CIRCUIT
        assert caplog.text.count("fault PilotShortCircuit: ") == (not is_test_mode)
        # The source of a raised fault logs the reason.
        host.charger.handle(FaultRaised(FaultState.OVER_CURRENT), host.now)
        assert host.charger.snapshot().fault is FaultState.OVER_CURRENT
        assert "fault OverCurrent" not in caplog.text

    def test_opening_precedes_all_other_orders(
        self, monkeypatch: pytest.MonkeyPatch, host: ChargerHost
    ) -> None:
        charge(host)
        orders: list[str] = []
        for name in ("open", "withdraw", "unlock", "signal_unavailable", "set_discharge"):
            monkeypatch.setattr(
                host.backend.board, name, lambda *given, name=name: orders.append(name)
            )
        host.backend.fault("OverTemperature")
        assert orders[:2] in (["signal_unavailable", "open"], ["open", "signal_unavailable"])


class TestClock:
    def test_permission_expires_on_time(self, host: ChargerHost) -> None:
        charge(host)
        until = EpochSeconds(host.epoch_s + 100)
        host.charger.handle(replace(ENABLE, until=until), host.now)
        host.run(98.9)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        host.run(1.2)
        assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
        assert host.charger.snapshot().charging is None

    def test_permission_until_past_time_expires_at_once(self, host: ChargerHost) -> None:
        host.charger.handle(replace(ENABLE, until=EpochSeconds(host.epoch_s - 1)), host.now)
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED

    def test_permission_expires_once_clock_is_known(self) -> None:
        host = charge(ChargerHost(has_clock=False))
        until = EpochSeconds(host.epoch_s + 10)
        host.charger.handle(replace(ENABLE, until=until), host.now)
        host.run(100)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        host.has_clock = True
        host.run(30)
        assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND

    def test_permission_expires_when_clock_moves_forward(self, host: ChargerHost) -> None:
        until = EpochSeconds(host.epoch_s + 10_000)
        host.charger.handle(replace(ENABLE, until=until), host.now)
        host.set_clock(START_UTC_S + 20_000)
        host.run(61)
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED

    def test_no_deadline_without_reason(self, host: ChargerHost) -> None:
        assert host.charger.next_deadline() is None
        host.charger.handle(ENABLE, host.now)
        assert host.charger.next_deadline() is None

    def test_caller_keeps_deadline_without_timers(self) -> None:
        now = 0.0
        backend = SimulatedBackend(clock=lambda: now)
        charger = Charger(backend, MemoryStore(), now=now)
        backend.attach(lambda event: charger.receive(event, now))
        charger.handle(ENABLE, now)
        backend.plug_in()
        for now in (5.0, 10.0, 15.0, 20.0, 25.0):
            assert charger.next_deadline() == now  # poll of the meter
            charger.on_timer(now)
        assert charger.next_deadline() == 30.0  # wake-up of a vehicle that ignores the offer
        now = 30.0
        charger.on_timer(now)
        assert charger.next_deadline() == 34.0


class TestProcessing:
    def test_refusal_has_reason(self, host: ChargerHost) -> None:
        assert host.charger.handle(ENABLE, host.now) is None
        refusal = host.charger.handle(StartDiagnostics(), host.now)
        assert refusal is not None
        assert "ChargingEnabled" in refusal

    def test_observers_get_one_snapshot_per_call(self, host: ChargerHost) -> None:
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.snapshots.clear()
        host.backend.demand()
        [snapshot] = host.snapshots
        assert snapshot.state is State.PLUGGED_IN_CHARGING
        assert snapshot.contactor is ContactorState.CLOSING

    def test_unchanged_state_is_not_notified(self, host: ChargerHost) -> None:
        charge(host)
        host.run(9)
        host.snapshots.clear()
        host.charger.refresh_meter(host.now)
        host.charger.on_timer(host.now)
        assert host.snapshots == []

    def test_observer_may_send_events(self, host: ChargerHost) -> None:
        """An observer that stops each transfer at its start."""

        def act(snapshot: object, notifications: tuple[object, ...], now: float) -> None:
            if any(isinstance(each, EnergyTransferStarted) for each in notifications):
                host.charger.handle(Disable(), now)

        host.charger.observers.append(act)
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED
        host.run(10)
        assert host.backend.status()["contactor"] == "open"

    def test_features_are_the_supported_ones_of_the_selected(self) -> None:
        backend = SimulatedBackend(clock=lambda: 0.0, without=frozenset({"V2X"}))

        def features(wanted: frozenset[str] | None) -> frozenset[str]:
            settings = ChargerSettings(features=wanted)
            return Charger(backend, MemoryStore(), now=0.0, settings=settings).features

        assert features(None) == {"PREF", "SOC", "PNC", "RFID"}
        assert features(frozenset({"V2X", "RFID"})) == {"RFID"}


class TestSelfTest:
    def test_self_test_ends_by_hardware(self, host: ChargerHost) -> None:
        host.charger.handle(StartDiagnostics(), host.now)
        host.run(2)
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED_DIAGNOSTICS
        host.run(2)
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED

    def test_self_test_ends_at_once_without_hardware_support(self, host: ChargerHost) -> None:
        host.backend.self_test = None  # type: ignore[assignment]
        host.charger.handle(StartDiagnostics(), host.now)
        assert host.charger.snapshot().supply_state is SupplyState.DISABLED


def test_new_charger_may_be_enabled_by_settings() -> None:
    store = MemoryStore()

    def snapshot() -> Snapshot:
        settings = ChargerSettings(may_charge_when_new=True)
        return Charger(SimulatedBackend(), store, now=0.0, settings=settings).snapshot()

    assert snapshot().supply_state is SupplyState.CHARGING_ENABLED
    assert snapshot().charging == Permission()
    assert snapshot().maximum_charge_ma == 32_000
    Charger(
        SimulatedBackend(), store, now=0.0, settings=ChargerSettings(may_charge_when_new=True)
    ).handle(Disable(), 1.0)
    assert snapshot().supply_state is SupplyState.DISABLED
