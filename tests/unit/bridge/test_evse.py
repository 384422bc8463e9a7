from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import pytest

from evse_node.bridge.evse import EVSE, evse_settings
from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server_attribute import ServerAttribute
from evse_node.errors import StatusError
from evse_node.hal.interface import MeterValues
from evse_node.matter.data_model import CommandReply
from evse_node.matter.interaction.status import Status
from evse_node.state_machine.enums import State, StoppedReason, SupplyState
from evse_node.state_machine.events import EnableCharging, VehicleIdentified
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.support.charger.charger_host import ALL_FEATURES, ChargerHost

CHARGING, DISCHARGING = 3, 4


@pytest.fixture
def host() -> ChargerHost:
    return ChargerHost()


def charge(host: ChargerHost) -> None:
    host.invoke("EnableCharging", None, 6_000, 16_000)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)


# Names


@pytest.mark.parametrize(
    ("words", "enum"),
    [
        (State, "StateEnum"),
        (FaultState, "FaultStateEnum"),
        (StoppedReason, "EnergyTransferStoppedReasonEnum"),
    ],
)
def test_enums_of_machine_match_the_definitions(words: type[Enum], enum: str) -> None:
    assert {word.value for word in words} == set(load_definitions()[EVSE].enum(enum).values)


def test_supply_states_match_either_revision() -> None:
    known = set(load_definitions()[EVSE].enum("SupplyStateEnum").values)
    assert {state.value for state in SupplyState} - {"Enabled"} == known - {"Enabled"}
    assert evse_settings(load_definitions()[EVSE]).has_enabled_state is ("Enabled" in known)


# What exists


def attributes(host: ChargerHost) -> set[int]:
    return {number for number in host.evse.attributes if number < 0xF000}


MANDATORY = {0, 1, 2, 3, 5, 6, 7, 9, 10, 0x40, 0x41, 0x42}
BY_FEATURE = {
    "PREF": {0x23, 0x24, 0x25, 0x26, 0x27},
    "SOC": {0x30, 0x31},
    "PNC": {0x32},
    "RFID": set(),
    "V2X": {4, 8, 0x43},
}
COMMANDS_BY_FEATURE = {"PREF": {5, 6, 7}, "V2X": {3}}


def subsets() -> Iterator[frozenset[str]]:
    codes = sorted(ALL_FEATURES)
    for mask in range(1 << len(codes)):
        yield frozenset(code for bit, code in enumerate(codes) if mask >> bit & 1)


@pytest.mark.parametrize(
    "features", list(subsets()), ids=lambda codes: "+".join(sorted(codes)) or "none"
)
def test_cluster_elements_follow_the_features(features: frozenset[str]) -> None:
    host = ChargerHost(features=features)
    assert attributes(host) == MANDATORY.union(*(BY_FEATURE[code] for code in features))
    commands = {1, 2, 4}.union(*(COMMANDS_BY_FEATURE.get(code, set()) for code in features))
    assert set(host.evse.commands) == commands
    assert set(host.evse.events) == {0, 1, 2, 3, 4} | ({5} if "RFID" in features else set())
    charge(host)
    host.backend.tap(b"card")
    host.backend.unplug()
    names = [name for name, _ in host.recorder.events]
    rfid = ["RFID"] if "RFID" in features else []
    assert names == [
        "EVConnected",
        "EnergyTransferStarted",
        *rfid,
        "EnergyTransferStopped",
        "EVNotDetected",
    ]
    gone = host.recorder.events[-1][1]
    assert ("session_energy_discharged" in gone) is ("V2X" in features)


def test_cluster_has_initial_values_of_the_charger(host: ChargerHost) -> None:
    expected = {
        "State": 0,
        "SupplyState": 0,
        "FaultState": 0,
        "ChargingEnabledUntil": 0,
        "DischargingEnabledUntil": 0,
        "CircuitCapacity": 32_000,
        "MinimumChargeCurrent": 6_000,
        "MaximumChargeCurrent": 0,
        "MaximumDischargeCurrent": 0,
        "UserMaximumChargeCurrent": 80_000,
        "RandomizationDelayWindow": 600,
        "NextChargeStartTime": None,
        "NextChargeTargetTime": None,
        "NextChargeRequiredEnergy": None,
        "NextChargeTargetSoC": None,
        "ApproximateEVEfficiency": None,
        "StateOfCharge": None,
        "BatteryCapacity": None,
        "VehicleID": None,
        "SessionID": None,
        "SessionDuration": None,
        "SessionEnergyCharged": None,
        "SessionEnergyDischarged": None,
    }
    assert {name: host.read(name) for name in expected} == expected


# Values


def test_charging_session_appears_in_attributes(host: ChargerHost) -> None:
    charge(host)
    assert host.read("State") == CHARGING
    assert host.read("StateOfCharge") == 40
    assert host.read("BatteryCapacity") == 60_000_000
    assert host.read("VehicleID") == "SIMULATED-EV-0001"
    assert host.read("SessionID") == 0
    host.run(3599)
    assert host.read("SessionDuration") == 3600
    assert host.read("SessionEnergyCharged") == pytest.approx(3_680_000, rel=1e-3)
    assert host.read("SessionEnergyDischarged") == 0


def test_session_values_are_fresh_on_each_read(host: ChargerHost) -> None:
    charge(host)
    first = host.read("SessionDuration")
    host.run(3)
    assert isinstance(first, int)
    assert host.read("SessionDuration") == first + 3


def test_session_values_of_one_message_read_the_meter_once(
    host: ChargerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge(host)
    read = host.backend.board.read
    reads: list[float] = []

    def counted_read() -> MeterValues:
        reads.append(host.now)
        return read()

    monkeypatch.setattr(host.backend.board, "read", counted_read)
    names = ("SessionDuration", "SessionEnergyCharged", "SessionEnergyDischarged")
    host.run(0.5)
    reads.clear()
    assert [host.read(name) for name in names][2] == 0
    assert len(reads) == 1
    # What happens at the same time is seen all the same.
    before = host.read("SessionEnergyCharged")
    host.backend.unplug()
    assert host.read("SessionEnergyCharged") == before
    host.backend.plug_in()
    assert host.read("SessionEnergyCharged") == 0


def test_command_stores_changed_attributes_only(
    host: ChargerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    store = ServerAttribute.store

    def record(attribute: ServerAttribute, value: Value, encoded: bytes | None = None) -> None:
        stored.append(attribute.key)
        store(attribute, value, encoded)

    monkeypatch.setattr(ServerAttribute, "store", record)
    host.invoke("EnableCharging", None, 6_000, 16_000)
    assert stored == ["supply_state", "charging_enabled_until", "maximum_charge_current"]
    host.invoke("EnableCharging", None, 6_000, 12_000)
    assert stored[3:] == ["maximum_charge_current"]
    host.invoke("EnableCharging", None, 6_000, 12_000)
    assert len(stored) == 4


def test_values_stored_by_the_charger_are_written_once(host: ChargerHost) -> None:
    before = dict(host.store.items(""))
    host.invoke("EnableCharging", 900_000_000, 7_000, 16_000)
    host.write("UserMaximumChargeCurrent", 14_000)
    changed = dict(host.store.items("")).items() ^ before.items()
    assert {key for key, _ in changed} == {"evse/permissions", "evse/user-limit"}
    names = (
        *("ChargingEnabledUntil", "MinimumChargeCurrent", "MaximumChargeCurrent"),
        *("UserMaximumChargeCurrent", "SessionID"),
    )
    values = [host.read(name) for name in names]
    again = ChargerHost(store=host.store)
    assert (
        [again.read(name) for name in names] == values == [900_000_000, 7_000, 14_000, 14_000, None]
    )


def test_discharging_appears_in_attributes_and_events(host: ChargerHost) -> None:
    until = host.epoch_s + 3600
    host.invoke("EnableDischarging", until, 10_000)
    assert host.read("DischargingEnabledUntil") == until
    assert host.read("MaximumDischargeCurrent") == 10_000
    host.backend.plug_in()
    host.backend.demand()
    host.run(1800)
    assert host.read("State") == DISCHARGING
    host.recorder.events.pop(0)
    _, started = host.next_event()
    assert started == {"session_id": 0, "state": DISCHARGING, "maximum_current": 10_000}
    host.run(1801)
    _, stopped = host.next_event()
    assert stopped["reason"] == 1
    assert stopped["energy_transferred"] == pytest.approx(2_300_000, rel=1e-2)
    assert host.read("DischargingEnabledUntil") == 0


def test_too_long_vehicle_id_reads_null(host: ChargerHost) -> None:
    host.backend.plug_in()
    host.charger.handle(VehicleIdentified("x" * 33), host.now)
    assert host.read("VehicleID") is None
    host.charger.handle(VehicleIdentified("x" * 32), host.now)
    assert host.read("VehicleID") == "x" * 32


def test_card_is_recorded_as_event(host: ChargerHost) -> None:
    host.backend.tap(bytes(10))
    assert host.next_event() == ("RFID", {"uid": bytes(10)})
    assert host.backend.board.cards_read == 1


def test_fault_without_session_is_recorded_with_null_session(host: ChargerHost) -> None:
    host.backend.fault("OverVoltage")
    assert host.next_event() == (
        "Fault",
        {
            "session_id": None,
            "state": 0,
            "fault_state_previous_state": 0,
            "fault_state_current_state": 2,
        },
    )


# Commands and writes


@pytest.mark.parametrize(
    ("minimum", "maximum", "status"),
    [
        (6_000, 6_000, Status.SUCCESS),
        (0, 0, Status.SUCCESS),
        (6_000, 80_000, Status.SUCCESS),
        (-1, 6_000, Status.CONSTRAINT_ERROR),
        (6_000, -1, Status.CONSTRAINT_ERROR),
        (6_001, 6_000, Status.CONSTRAINT_ERROR),
    ],
)
def test_enable_charging_command_reaches_the_charger(
    host: ChargerHost, minimum: int, maximum: int, status: Status
) -> None:
    assert host.status("EnableCharging", None, minimum, maximum) is status
    if status is not Status.SUCCESS:
        assert host.read("SupplyState") == 0
        assert host.read("MinimumChargeCurrent") == 6_000


def test_refused_command_changes_nothing(host: ChargerHost) -> None:
    charge(host)
    host.backend.fault("OverTemperature")
    assert host.status("EnableCharging", 7, 8_000, 9_000) is Status.FAILURE
    assert host.read("ChargingEnabledUntil") is None
    assert host.read("MinimumChargeCurrent") == 6_000
    assert host.status("Disable") is Status.FAILURE
    assert host.status("EnableDischarging", None, 9_000) is Status.FAILURE
    assert host.status("StartDiagnostics") is Status.FAILURE
    host.backend.clear_fault()
    assert host.read("SupplyState") == 1


def test_enable_discharging_with_negative_current_is_refused(host: ChargerHost) -> None:
    assert host.status("EnableDischarging", None, -1) is Status.CONSTRAINT_ERROR


@pytest.mark.parametrize(
    ("attribute", "value", "status"),
    [
        ("UserMaximumChargeCurrent", 0, Status.SUCCESS),
        ("UserMaximumChargeCurrent", 32_000, Status.SUCCESS),
        ("UserMaximumChargeCurrent", -1, Status.CONSTRAINT_ERROR),
        ("RandomizationDelayWindow", 0, Status.SUCCESS),
        ("RandomizationDelayWindow", 86_400, Status.SUCCESS),
        ("RandomizationDelayWindow", 86_401, Status.CONSTRAINT_ERROR),
        ("ApproximateEVEfficiency", 500, Status.SUCCESS),
        ("ApproximateEVEfficiency", None, Status.SUCCESS),
    ],
)
def test_written_user_maximum_limits_the_charger(
    host: ChargerHost, attribute: str, value: int | None, status: Status
) -> None:
    before = host.read(attribute)
    assert host.write(attribute, value) is status
    assert host.read(attribute) == (value if status is Status.SUCCESS else before)
    again = ChargerHost(store=host.store)
    assert again.read(attribute) == (value if status is Status.SUCCESS else before)


def test_efficiency_gives_range_and_does_not_change_the_plan(host: ChargerHost) -> None:
    host.invoke("SetTargets", [{0: 0x7F, 1: [{0: 20 * 60, 1: 80, 2: 5_000_000}]}])
    host.invoke("EnableCharging", None, 6_000, 32_000)
    host.backend.plug_in()
    plan = host.charger.snapshot().next_charge
    assert plan.target_time is not None
    assert host.evse.range_km(10_000_000) is None
    host.write("ApproximateEVEfficiency", 4_800)  # 4.8 km with a kilowatt-hour
    assert host.evse.range_km(10_000_000) == 48
    assert host.charger.snapshot().next_charge == plan
    host.write("ApproximateEVEfficiency", None)
    assert host.evse.range_km(10_000_000) is None
    without = ChargerHost(features=frozenset())
    assert without.evse.range_km(10_000_000) is None


def test_equal_value_is_not_reported_again(host: ChargerHost) -> None:
    host.write("UserMaximumChargeCurrent", 9_000)
    host.reported.clear()
    assert host.write("UserMaximumChargeCurrent", 9_000) is Status.SUCCESS
    assert host.reported == []


def test_randomization_window_reaches_the_charger(host: ChargerHost) -> None:
    assert host.charger.randomization_window_s == 600
    host.write("RandomizationDelayWindow", 5)
    assert host.charger.randomization_window_s == 5
    assert ChargerHost(store=host.store).charger.randomization_window_s == 5


# Targets


@pytest.mark.parametrize(
    ("schedules", "status"),
    [
        ([], Status.SUCCESS),
        ([{0: 0x7F, 1: []}], Status.SUCCESS),
        ([{0: 1, 1: [{0: 0, 1: 0}]}], Status.SUCCESS),
        ([{0: 1, 1: [{0: 1439, 1: 100, 2: 0}]}], Status.SUCCESS),
        ([{0: 0, 1: []}], Status.CONSTRAINT_ERROR),
        ([{0: 0x80, 1: []}], Status.CONSTRAINT_ERROR),
        ([{0: 3, 1: []}, {0: 2, 1: []}], Status.CONSTRAINT_ERROR),
        ([{0: 1, 1: [{0: 1440, 1: 50}]}], Status.CONSTRAINT_ERROR),
        ([{0: 1, 1: [{0: 0, 1: 101}]}], Status.CONSTRAINT_ERROR),
        ([{0: 1, 1: [{0: 0, 2: 1}]}], Status.INVALID_COMMAND),
        ([{0: 1, 1: [{0: 0, 1: 50, 2: -1}]}], Status.CONSTRAINT_ERROR),
        ([{0: 1, 1: [{0: n, 1: 50} for n in range(11)]}], Status.RESOURCE_EXHAUSTED),
        ([{0: 1 << n, 1: [{0: 0, 1: 50}]} for n in range(7)], Status.SUCCESS),
        ([{0: 1 << n % 7, 1: []} for n in range(8)], Status.CONSTRAINT_ERROR),
    ],
)
def test_set_targets_stores_targets(
    host: ChargerHost, schedules: list[object], status: Status
) -> None:
    assert host.status("SetTargets", schedules) is status  # type: ignore[arg-type]
    assert host.targets() == (schedules if status is Status.SUCCESS else [])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ({0: 0, 1: 100}, Status.SUCCESS),
        ({0: 0, 2: 5}, Status.SUCCESS),
        ({0: 0, 1: 99}, Status.CONSTRAINT_ERROR),
        ({0: 0}, Status.FAILURE),
    ],
)
def test_targets_without_soc_need_energy(target: dict[int, int], status: Status) -> None:
    host = ChargerHost(features=ALL_FEATURES - {"SOC"})
    assert host.status("SetTargets", [{0: 1, 1: [target]}]) is status  # type: ignore[list-item]


def test_invalid_targets_keep_the_stored_ones(host: ChargerHost) -> None:
    good = [{0: 0x7F, 1: [{0: 60, 1: 80}]}]
    host.invoke("SetTargets", good)  # type: ignore[arg-type]
    bad = [{0: 1, 1: []}, {0: 2, 1: [{0: 0}]}]
    assert host.status("SetTargets", bad) is Status.INVALID_COMMAND  # type: ignore[arg-type]
    assert host.targets() == good


# Modes


def change_mode(host: ChargerHost, mode: int) -> int:
    reply = host.mode.invoke(0, {0: mode}, host.context)
    assert isinstance(reply, CommandReply)
    assert reply.command_id == 1
    from evse_node.matter.tlv import decode_element

    _, value, _ = decode_element(reply.payload, 0)
    assert isinstance(value, dict)
    assert isinstance(value[1], str)
    status = value[0]
    assert isinstance(status, int)
    return status


def test_supported_modes_have_the_required_tags(host: ChargerHost) -> None:
    """TC-EEVSEM-1.2"""
    modes = host.mode.supported_modes
    assert isinstance(modes, list)
    assert 2 <= len(modes) <= 255
    numbers = [mode["mode"] for mode in modes]
    labels = [mode["label"] for mode in modes]
    assert len(set(numbers)) == len(set(labels)) == len(modes)
    tags = [{tag["value"] for tag in mode["mode_tags"]} for mode in modes]
    assert all(tags)
    assert set().union(*tags) <= {0x4000, 0x4001, 0x4002}
    assert any(0x4000 in each for each in tags)
    assert 15 not in numbers
    assert host.mode.current_mode in numbers


def test_mode_is_changed_and_persisted(host: ChargerHost) -> None:
    assert change_mode(host, 2) == 0
    assert host.mode.current_mode == 2
    assert ChargerHost(store=host.store).mode.current_mode == 2


def test_unknown_mode_is_refused(host: ChargerHost) -> None:
    assert change_mode(host, 15) == 1
    assert host.mode.current_mode == 0


def test_scheduled_mode_is_followed_after_restart(host: ChargerHost) -> None:
    change_mode(host, 1)
    again = ChargerHost(store=host.store)
    again.invoke("SetTargets", [{0: 0x7F, 1: [{0: 20 * 60, 1: 41}]}])
    again.invoke("EnableCharging", None, 6_000, 16_000)
    again.backend.plug_in()
    assert again.charger.snapshot().is_held


# Reports


def test_each_change_is_reported_once(host: ChargerHost) -> None:
    host.reported.clear()
    host.invoke("EnableCharging", None, 6_000, 16_000)
    assert sorted(host.reported) == [
        "charging_enabled_until",
        "maximum_charge_current",
        "supply_state",
    ]


def test_quiet_reports_end_with_the_transfer(host: ChargerHost) -> None:
    charge(host)
    host.backend.no_demand()
    host.run(1)
    host.reported.clear()
    host.run(120)
    assert host.reported == []


def test_quiet_reports_are_sent_every_ten_seconds(host: ChargerHost) -> None:
    charge(host)
    host.reported.clear()
    host.run(60)
    assert host.reported.count("session_duration") == 6


def test_quiet_reports_need_timers() -> None:
    from evse_node.bridge.evse import EvseBridge

    host = ChargerHost()
    bridge = EvseBridge(host.charger, load_definitions())
    for cluster in bridge.clusters:
        cluster.attach(2, host.evse.environment)
    bridge.start(host.now)
    host.charger.handle(EnableCharging(None, Milliamps(6_000), Milliamps(9_000)), host.now)
    assert bridge.energy_evse.supply_state == 1


def test_status_error_names_its_reason(host: ChargerHost) -> None:
    host.invoke("EnableCharging", None, 6_000, 16_000)
    with pytest.raises(StatusError, match="ChargingEnabled"):
        host.invoke("StartDiagnostics")
