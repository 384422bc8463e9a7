"""State of a charger after a restart."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from evse_node.charger import Charger, ChargerSettings
from evse_node.charger.persistence import ChargerPersistence
from evse_node.charger.schedule import Commitment
from evse_node.charger.vehicle_draw import LearnedDraws, VehicleDraw
from evse_node.cluster.definitions.zap import revision_definitions
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.state_machine.effects import EvConnected, EvNotDetected
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import (
    Direction,
    Disable,
    EnableDischarging,
    LimitClaimed,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import Limits, LimitSource
from evse_node.state_machine.session import NO_READING, MeterReading, Session
from evse_node.state_machine.state import EvseState, Permission, Vehicle
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours
from tests.support.charger.charger_host import ENABLE, START_UTC_S, ChargerHost, charge, restarted

STORE_0_1 = {
    "evse/commitment": b'{"session":0,"target_time":802987200,"delay_s":300,"has_begun":true,'
    b'"is_trial":false,"missed":{"minutes":420,"soc":80,"energy_mwh":null}}',
    "evse/faults": b'{"faults":["GroundFault"]}',
    "evse/intake": b'{"session":0,"present":{"phases":1,"current_ma":16000,"is_own_limit":true},'
    b'"recent":[{"session":0,"phases":1,"current_ma":16000,"is_own_limit":true}]}',
    "evse/permissions": b'{"charging":{"until":900000000},"discharging":null,"minimum_ma":6000,'
    b'"charge_ma":20000,"discharge_ma":0,"is_authorized":false}',
    "evse/session": b'{"id":0,"is_active":true,"started_utc_ms":1749637000000,"duration_s":12602,'
    b'"imported_mwh":0,"exported_mwh":0,"charged_mwh":12879960,"discharged_mwh":0,'
    b'"soc_percent":61,"capacity_mwh":60000000}',
    "evse/targets": b'{"schedules":[{"days":62,"targets":[{"minutes":420,"soc":80,'
    b'"energy_mwh":null},{"minutes":1200,"soc":90,"energy_mwh":5000000}]},{"days":65,'
    b'"targets":[{"minutes":600,"soc":100,"energy_mwh":null}]}]}',
    "evse/user-limit": b'{"current_ma":20000}',
}
"""All parts as version 0.1 wrote them."""


@pytest.fixture
def host() -> ChargerHost:
    return ChargerHost()


class TestPersistence:
    def test_retry_and_its_count_survive_restart(self, host: ChargerHost) -> None:
        charge(host)
        for wait_s in (10, 60):
            host.backend.board.is_pilot_shorted = True
            host.run(0.1)
            host.backend.board.is_pilot_shorted = False
            host.run(0.1)
            assert host.charger.state.fault is FaultState.PILOT_SHORT_CIRCUIT
            host = restarted(host)
            host.run(wait_s - 1)
            assert host.charger.state.fault is FaultState.PILOT_SHORT_CIRCUIT
            host.run(6)
            assert host.backend.board.is_closed
        assert host.charger.state.retry_count == 2

    def test_damaged_fault_record_is_not_retried(self, host: ChargerHost) -> None:
        host.store.set("evse/faults", b"{")
        host = restarted(host)
        host.run(100_000)
        assert host.charger.state.faults == (FaultState.OTHER,)

    def test_permission_survives_restart(self, host: ChargerHost) -> None:
        until = EpochSeconds(host.epoch_s + 1000)
        host.charger.handle(replace(ENABLE, until=until), host.now)
        again = restarted(host).charger.snapshot()
        assert again.charging == Permission(until)
        assert again.supply_state is SupplyState.CHARGING_ENABLED
        assert (again.minimum_charge_ma, again.maximum_charge_ma) == (6_000, 16_000)

    def test_records_of_version_0_1_load_and_stay_unchanged(self) -> None:
        store = MemoryStore(dict(STORE_0_1))
        persistence = ChargerPersistence(store, lambda: None, 0.0)
        settings, features = ChargerSettings(), frozenset({"V2X"})
        ratings = SimulatedBackend().ratings
        state = persistence.load_state(settings, features, ratings, None, 0.0)
        assert state.charging == Permission(EpochSeconds(900_000_000))
        assert state.charge_limits.claim(LimitSource.COMMAND) == 20_000
        assert state.charge_limits.claim(LimitSource.USER) == 20_000
        assert state.faults == (FaultState.GROUND_FAULT,)
        assert state.session == Session(0, -12_602.0, NO_READING)
        assert state.meter == MeterReading(MilliwattHours(12_879_960))
        assert state.vehicle == Vehicle(61, MilliwattHours(60_000_000))
        targets = persistence.load_targets()
        assert targets == (
            ChargingTargetSchedule(
                0x3E,
                (
                    ChargingTarget(7 * 60, 80),
                    ChargingTarget(20 * 60, 90, MilliwattHours(5_000_000)),
                ),
            ),
            ChargingTargetSchedule(0x41, (ChargingTarget(10 * 60, 100),)),
        )
        commitment = persistence.load_commitment()
        missed = ChargingTarget(7 * 60, 80)
        assert commitment == Commitment(
            0, EpochSeconds(802_987_200), 300, has_begun=True, missed=missed
        )
        draws = persistence.load_draws()
        draw = VehicleDraw(1, Milliamps(16_000), is_own_limit=True)
        assert draws == LearnedDraws(0, draw, ((0, draw),))
        persistence.save_targets(targets)
        persistence.save_plan(commitment, draws)
        persistence._has_unsaved_changes = True
        persistence.save_changes(state, state, 0.0, is_test_mode=False)
        assert dict(store.items("")) == STORE_0_1

    @pytest.mark.parametrize("charging", [None, Permission(), Permission(EpochSeconds(7))])
    @pytest.mark.parametrize("discharging", [None, Permission(), Permission(EpochSeconds(0))])
    @pytest.mark.parametrize("is_authorized", [True, False])
    def test_permissions_are_stored_as_documented_json(
        self, charging: Permission | None, discharging: Permission | None, is_authorized: bool
    ) -> None:
        store = MemoryStore()
        state = EvseState(
            charging=charging,
            discharging=discharging,
            minimum_charge_ma=Milliamps(7_000),
            is_authorized=is_authorized,
            charge_limits=Limits().with_claim(LimitSource.COMMAND, 16_000),
            discharge_limits=Limits(),
        )
        persistence = ChargerPersistence(store, lambda: None, 0.0)
        persistence.save_changes(EvseState(), state, 0.0, is_test_mode=False)
        assert json.loads(store.get("evse/permissions") or b"") == {
            "charging": None if charging is None else {"until": charging.until},
            "discharging": None if discharging is None else {"until": discharging.until},
            "minimum_ma": 7_000,
            "charge_ma": 16_000,
            "discharge_ma": 0,
            "is_authorized": is_authorized,
        }
        loaded = persistence._load_permissions(EvseState())
        assert (loaded.charging, loaded.discharging) == (charging, discharging)
        assert (loaded.minimum_charge_ma, loaded.is_authorized) == (7_000, is_authorized)

    def test_permission_expires_after_restart(self, host: ChargerHost) -> None:
        host.charger.handle(replace(ENABLE, until=EpochSeconds(host.epoch_s + 5)), host.now)
        again = restarted(host, after=-0.0)
        assert again.charger.snapshot().charging is not None
        again.set_clock(START_UTC_S + 10)
        again.run(61)
        assert again.charger.snapshot().charging is None

    def test_disabled_supply_stays_disabled(self, host: ChargerHost) -> None:
        host.charger.handle(ENABLE, host.now)
        host.charger.handle(Disable(), host.now)
        again = restarted(host).charger.snapshot()
        assert again.charging is None
        assert again.minimum_charge_ma == 0

    def test_discharging_is_dropped_without_v2x(self, host: ChargerHost) -> None:
        host.charger.handle(EnableDischarging(None, Milliamps(9_000)), host.now)
        again = ChargerHost(store=host.store, features=frozenset({"PREF"}))
        assert again.charger.snapshot().discharging is None

    def test_permission_to_discharge_survives_restart(self, host: ChargerHost) -> None:
        host.charger.handle(EnableDischarging(None, Milliamps(9_000)), host.now)
        again = restarted(host).charger.snapshot()
        assert (again.charging, again.discharging) == (None, Permission())

    def test_both_permissions_survive_only_with_enabled_state(self) -> None:
        later = revision_definitions("1.4.2")
        host = ChargerHost(definitions=later)
        host.charger.handle(ENABLE, host.now)
        host.charger.handle(EnableDischarging(None, Milliamps(9_000)), host.now)
        assert host.charger.snapshot().supply_state is SupplyState.ENABLED
        again = ChargerHost(store=host.store, definitions=later)
        assert again.charger.snapshot().supply_state is SupplyState.ENABLED
        earlier = ChargerHost(store=host.store).charger.snapshot()
        assert earlier.supply_state is SupplyState.CHARGING_ENABLED
        assert earlier.discharging is None

    def test_user_limit_survives_restart(self, host: ChargerHost) -> None:
        claim = LimitClaimed(LimitSource.USER, Milliamps(9_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        assert restarted(host).charger.snapshot().user_maximum_charge_ma == 9_000

    def test_session_ids_continue(self, host: ChargerHost) -> None:
        host.backend.plug_in()
        host.backend.unplug()
        again = restarted(host)
        again.backend.plug_in()
        assert again.notifications[0] == EvConnected(1)

    def test_last_session_stays_readable(self, host: ChargerHost) -> None:
        charge(host)
        host.run(600)
        host.backend.unplug()
        session, meter = host.charger.snapshot().session, host.charger.snapshot().meter
        assert session is not None
        before = (session.id, session.duration_s(host.now), session.energy_charged_mwh(meter))
        again = restarted(host)
        session = again.charger.snapshot().session
        assert session is not None
        assert not session.is_active
        meter = again.charger.snapshot().meter
        after = (session.id, session.duration_s(again.now), session.energy_charged_mwh(meter))
        assert after == before
        assert after[2] > 600_000

    @pytest.mark.parametrize("keep_meter", [True, False])
    def test_running_session_continues(self, host: ChargerHost, keep_meter: bool) -> None:
        charge(host)
        host.run(599)
        host.charger.save(host.now)
        session, meter = host.charger.snapshot().session, host.charger.snapshot().meter
        assert session is not None
        energy = session.energy_charged_mwh(meter)
        assert energy > 600_000
        again = restarted(host, after=100, keep_meter=keep_meter)
        again.set_clock(START_UTC_S + 700)
        session = again.charger.snapshot().session
        assert session is not None
        assert (session.id, session.is_active) == (0, True)
        assert not [
            notification
            for notification in again.notifications
            if isinstance(notification, EvConnected)
        ]
        meter = again.charger.refresh_meter(again.now)
        assert session.energy_charged_mwh(meter) == pytest.approx(energy, abs=5)
        # Charging continues.
        again.run(5)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        assert session.energy_charged_mwh(again.charger.refresh_meter(again.now)) > energy

    def test_session_duration_includes_power_cut(self, host: ChargerHost) -> None:
        host.backend.plug_in()
        started = Charger(
            SimulatedBackend(clock=lambda: 5.0),
            host.store,
            now=5.0,
            utc_ms=lambda: (START_UTC_S + 500) * 1000,
        )
        session = started.state.session
        assert session is not None
        assert session.duration_s(5.0) == 500

    def test_session_ends_when_vehicle_left_during_power_cut(self, host: ChargerHost) -> None:
        host.backend.plug_in()
        host.backend.car.unplug()
        again = restarted(host)
        session = again.charger.snapshot().session
        assert session is not None
        assert not session.is_active
        assert [
            notification
            for notification in again.notifications
            if isinstance(notification, EvNotDetected)
        ]

    @pytest.mark.parametrize(
        "key", ["evse/permissions", "evse/session", "evse/targets", "evse/user-limit"]
    )
    @pytest.mark.parametrize("damage", [b"", b"nonsense", b"[]", b"{}", b'{"id":"x"}', b"\xff"])
    def test_damaged_record_is_ignored(self, key: str, damage: bytes) -> None:
        store = MemoryStore({key: damage})
        host = ChargerHost(store=store)
        assert host.charger.snapshot().state is State.NOT_PLUGGED_IN
        assert host.charger.targets == ()

    @pytest.mark.parametrize(
        ("key", "whole", "damaged"),
        [
            ("evse/permissions", '"until":null', '"until":1180591620717411303424'),
            ("evse/permissions", '"minimum_ma":6000', '"minimum_ma":9223372036854775808'),
            ("evse/session", '"id":0', '"id":-1'),
            ("evse/session", '"duration_s":10', '"duration_s":1180591620717411303424'),
            ("evse/session", '"charged_mwh":', '"charged_mwh":9223372036854775807'),
            ("evse/session", '"capacity_mwh":60000000', '"capacity_mwh":9223372036854775808'),
            ("evse/session", '"soc_percent":40', '"soc_percent":-1'),
            ("evse/targets", '"minutes":1200', '"minutes":1440'),
            ("evse/targets", '"soc":80', '"soc":200'),
        ],
    )
    def test_record_with_impossible_numbers_is_ignored(
        self, key: str, whole: str, damaged: str
    ) -> None:
        host = ChargerHost()
        target = ChargingTarget(20 * 60, 80)
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        charge(host)
        host.run(9)
        host.charger.save(host.now)
        record = (host.store.get(key) or b"").decode()
        assert whole in record
        host.store.set(key, record.replace(whole, damaged).encode())
        again = ChargerHost(store=host.store)
        again.backend.plug_in()
        again.backend.demand()
        again.charger.handle(ENABLE, again.now)
        again.run(60)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    def test_unchanged_parts_are_not_written(self, host: ChargerHost) -> None:
        charge(host)
        host.run(150)  # long enough to measure the draw
        host.charger.save(host.now)
        written: list[str] = []
        host.store.before_set = lambda key, value: written.append(key)
        host.run(200)
        assert written == []
        host.run(200)
        assert set(written) == {"evse/session"}
