"""The sequences of the certification tests for the Energy EVSE cluster, step by step.

Trigger numbers are scenario numbers of the cluster's test events.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue
from evse_node.units import MATTER_EPOCH_UNIX_S
from tests.support.charger.charger_host import ALL_FEATURES, ChargerHost

BASIC, BASIC_CLEAR, PLUG_IN, PLUG_IN_CLEAR, DEMAND, DEMAND_CLEAR, TIME_OF_USE = range(7)
GROUND_FAULT, OVER_TEMPERATURE, FAULT_CLEAR = 0x10, 0x11, 0x12
DIAGNOSTICS_COMPLETE, TIME_OF_USE_CLEAR = 0x20, 0x21
SOC_LOW, SOC_HIGH, SOC_CLEAR = 0x30, 0x31, 0x32

NOT_PLUGGED_IN, NO_DEMAND, IN_DEMAND, CHARGING, DISCHARGING = range(5)
FAULT = 6
DISABLED, ENABLED, _, DISABLED_ERROR, DISABLED_DIAGNOSTICS = range(5)
EV_STOPPED, EVSE_STOPPED, OTHER = range(3)


@pytest.fixture
def host() -> ChargerHost:
    return ChargerHost()


def states(host: ChargerHost) -> tuple[TlvValue, TlvValue, TlvValue]:
    return host.read("State"), host.read("SupplyState"), host.read("FaultState")


def expect(host: ChargerHost, name: str, **fields: TlvValue) -> dict[str, TlvValue]:
    """Check that the next event is this one, with at least these fields."""
    came, values = host.next_event()
    assert came == name
    assert {key: values[key] for key in fields} == fields
    return values


def expect_fault(
    host: ChargerHost, session: TlvValue, state: int, previous: int, current: int
) -> None:
    expect(
        host,
        "Fault",
        session_id=session,
        state=state,
        fault_state_previous_state=previous,
        fault_state_current_state=current,
    )


def test_primary_functionality_sequence_passes(host: ChargerHost) -> None:
    """TC-EEVSE-2.2"""
    host.trigger(BASIC)
    assert states(host) == (NOT_PLUGGED_IN, DISABLED, 0)

    host.trigger(PLUG_IN)
    session = host.read("SessionID")
    expect(host, "EVConnected", session_id=session)
    assert host.read("State") == NO_DEMAND

    until = host.epoch_s + 5
    assert host.status("EnableCharging", until, 6000, 60000) is Status.SUCCESS
    assert host.no_event()

    host.trigger(DEMAND)
    expect(
        host,
        "EnergyTransferStarted",
        session_id=session,
        state=CHARGING,
        maximum_current=32000,
    )
    assert states(host) == (CHARGING, ENABLED, 0)
    assert host.read("ChargingEnabledUntil") == until
    assert host.read("MinimumChargeCurrent") == 6000
    assert host.read("CircuitCapacity") == 32000
    assert host.read("MaximumChargeCurrent") == 32000

    host.run(4.9)
    assert host.no_event()
    host.run(0.2)
    expect(host, "EnergyTransferStopped", session_id=session, state=CHARGING, reason=EVSE_STOPPED)
    assert states(host) == (IN_DEMAND, DISABLED, 0)
    assert host.read("ChargingEnabledUntil") == 0

    assert host.status("EnableCharging", None, 6000, 12000) is Status.SUCCESS
    expect(
        host,
        "EnergyTransferStarted",
        session_id=session,
        state=CHARGING,
        maximum_current=12000,
    )
    assert states(host) == (CHARGING, ENABLED, 0)
    assert host.read("ChargingEnabledUntil") is None
    assert host.read("MaximumChargeCurrent") == 12000

    assert host.write("UserMaximumChargeCurrent", 6000) is Status.SUCCESS
    assert host.read("MaximumChargeCurrent") == 6000
    host.run(3)
    assert host.no_event()

    host.trigger(DEMAND_CLEAR)
    expect(host, "EnergyTransferStopped", session_id=session, state=CHARGING, reason=EV_STOPPED)
    assert host.read("State") == NO_DEMAND

    host.trigger(DEMAND)
    assert host.status("EnableCharging", None, 6000, 12000) is Status.SUCCESS
    expect(
        host,
        "EnergyTransferStarted",
        session_id=session,
        state=CHARGING,
        maximum_current=6000,
    )
    assert host.no_event()
    assert host.read("State") == CHARGING

    host.trigger(DEMAND_CLEAR)
    expect(host, "EnergyTransferStopped", session_id=session, state=CHARGING, reason=EV_STOPPED)
    host.trigger(PLUG_IN_CLEAR)
    gone = expect(host, "EVNotDetected", session_id=session, state=NO_DEMAND)
    assert gone["session_energy_charged"] == 0
    assert states(host) == (NOT_PLUGGED_IN, ENABLED, 0)
    assert host.read("SessionID") == session
    assert host.read("SessionDuration") == gone["session_duration"] == 8

    assert isinstance(session, int)
    host.trigger(PLUG_IN)
    expect(host, "EVConnected", session_id=session + 1)
    host.trigger(DEMAND)
    expect(
        host,
        "EnergyTransferStarted",
        session_id=session + 1,
        state=CHARGING,
        maximum_current=6000,
    )
    assert host.read("SessionID") == session + 1

    assert host.status("Disable") is Status.SUCCESS
    expect(
        host, "EnergyTransferStopped", session_id=session + 1, state=CHARGING, reason=EVSE_STOPPED
    )
    assert host.read("SupplyState") == DISABLED
    host.trigger(DEMAND_CLEAR)
    assert host.no_event()
    host.trigger(PLUG_IN_CLEAR)
    expect(host, "EVNotDetected", session_id=session + 1, state=NO_DEMAND)
    host.trigger(BASIC_CLEAR)
    assert host.no_event()
    assert host.read("UserMaximumChargeCurrent") == 80000


def test_fault_sequence_passes(host: ChargerHost) -> None:
    """TC-EEVSE-2.4"""
    host.trigger(BASIC)
    host.run(3)
    assert states(host) == (NOT_PLUGGED_IN, DISABLED, 0)
    host.trigger(PLUG_IN)
    session = host.read("SessionID")
    expect(host, "EVConnected", session_id=session)
    assert host.status("EnableCharging", None, 6000, 60000) is Status.SUCCESS
    host.trigger(DEMAND)
    expect(host, "EnergyTransferStarted", session_id=session)
    assert states(host) == (CHARGING, ENABLED, 0)

    host.trigger(GROUND_FAULT)
    expect_fault(host, session, CHARGING, 0, 7)
    assert states(host) == (FAULT, DISABLED_ERROR, 7)
    assert host.status("EnableCharging", None, 6000, 60000) is Status.FAILURE
    assert host.status("Disable") is Status.FAILURE

    host.run(1)
    host.trigger(OVER_TEMPERATURE)
    expect_fault(host, session, FAULT, 7, 15)
    assert states(host) == (FAULT, DISABLED_ERROR, 15)

    host.trigger(FAULT_CLEAR)
    expect_fault(host, session, FAULT, 15, 0)
    assert states(host) == (CHARGING, ENABLED, 0)
    assert host.no_event()

    host.trigger(DEMAND_CLEAR)
    expect(host, "EnergyTransferStopped", session_id=session)
    host.trigger(PLUG_IN_CLEAR)
    expect(host, "EVNotDetected", session_id=session, state=NO_DEMAND)
    host.trigger(BASIC_CLEAR)
    assert host.no_event()


def test_diagnostics_sequence_passes(host: ChargerHost) -> None:
    """TC-EEVSE-2.5"""
    host.trigger(BASIC)
    assert host.status("EnableCharging", None, 6000, 60000) is Status.SUCCESS
    assert states(host) == (NOT_PLUGGED_IN, ENABLED, 0)
    assert host.status("StartDiagnostics") is Status.FAILURE
    assert host.status("Disable") is Status.SUCCESS
    assert states(host) == (NOT_PLUGGED_IN, DISABLED, 0)
    assert host.status("StartDiagnostics") is Status.SUCCESS
    assert host.read("SupplyState") == DISABLED_DIAGNOSTICS
    assert host.status("EnableCharging", None, 6000, 60000) is Status.FAILURE
    assert host.read("SupplyState") == DISABLED_DIAGNOSTICS
    host.run(60)
    assert host.read("SupplyState") == DISABLED_DIAGNOSTICS
    host.trigger(DIAGNOSTICS_COMPLETE)
    assert states(host) == (NOT_PLUGGED_IN, DISABLED, 0)
    host.trigger(BASIC_CLEAR)
    assert host.no_event()


def test_quieter_reporting_sequence_passes(host: ChargerHost) -> None:
    """TC-EEVSE-2.6"""
    session_attributes = ("session_duration", "session_energy_charged", "session_energy_discharged")
    host.trigger(BASIC)
    host.trigger(PLUG_IN)
    host.status("EnableCharging", None, 6000, 12000)
    host.trigger(DEMAND)
    assert host.read("State") == CHARGING

    host.reported.clear()
    host.run(12)
    assert host.reported.count("session_id") == 0
    for name in session_attributes:
        assert host.reported.count(name) == 1

    host.reported.clear()
    host.status("Disable")
    host.trigger(DEMAND_CLEAR)
    host.trigger(PLUG_IN_CLEAR)
    host.run(5)
    assert host.reported.count("session_id") == 0
    for name in session_attributes:
        assert host.reported.count(name) >= 1

    host.reported.clear()
    host.trigger(PLUG_IN)
    host.run(5)
    assert host.reported.count("session_id") == 1
    for name in session_attributes:
        assert host.reported.count(name) >= 1


NEXT_CHARGE = (
    "NextChargeStartTime",
    "NextChargeTargetTime",
    "NextChargeRequiredEnergy",
    "NextChargeTargetSoC",
)
ENERGY = 25_000_000


def next_charge(host: ChargerHost) -> tuple[TlvValue, ...]:
    return tuple(host.read(name) for name in NEXT_CHARGE)


def next_minute(host: ChargerHost, minute: int) -> int:
    """Return the next time at this minute of the day, calculated independently of the charger."""
    day = 24 * 60 * 60
    utc = host.utc_ms()
    assert utc is not None
    today = utc // 1000 // day * day + minute * 60
    if today < utc / 1000:
        today += day
    assert datetime.fromtimestamp(today, UTC).minute == minute % 60
    return today - MATTER_EPOCH_UNIX_S


def expect_next_charge(
    host: ChargerHost, target: int, energy: int | None, percent: int | None
) -> None:
    start, *others = next_charge(host)
    assert others == [target, energy, percent]
    assert isinstance(start, int)
    assert start < target


NULLS = (None, None, None, None)


def test_charging_preferences_sequence_passes() -> None:
    """TC-EEVSE-2.3"""
    host = ChargerHost(features=ALL_FEATURES - {"SOC"})
    host.trigger(BASIC)
    host.trigger(TIME_OF_USE)
    host.trigger(PLUG_IN)
    session = host.read("SessionID")
    expect(host, "EVConnected", session_id=session)
    assert host.status("ClearTargets") is Status.SUCCESS
    assert next_charge(host) == NULLS
    assert host.targets() == []

    daily: list[TlvValue] = [{0: 0x7F, 1: [{0: 1439, 2: ENERGY}]}]
    assert host.status("SetTargets", daily) is Status.SUCCESS
    assert next_charge(host) == NULLS
    assert host.status("EnableCharging", None, 6000, 60000) is Status.SUCCESS
    expect_next_charge(host, next_minute(host, 1439), ENERGY, None)
    assert host.targets() == daily

    early: list[TlvValue] = [{0: 0x7F, 1: [{0: 1, 1: 100}]}]
    assert host.status("SetTargets", early) is Status.SUCCESS
    expect_next_charge(host, next_minute(host, 1), None, 100)
    assert host.targets() == early

    ten: list[TlvValue] = [
        {0: minute, 1: 100, 2: ENERGY}
        for minute in (60, 180, 300, 420, 540, 660, 780, 900, 1020, 1140)
    ]
    assert host.status("SetTargets", [{0: 0x40, 1: ten}]) is Status.SUCCESS
    assert host.status("SetTargets", [{0: 0x01, 1: []}]) is Status.SUCCESS
    assert host.targets() == [
        {0: 0x3E, 1: [{0: 1, 1: 100}]},
        {0: 0x40, 1: ten},
        {0: 0x01, 1: []},
    ]
    assert host.status("ClearTargets") is Status.SUCCESS
    assert next_charge(host) == NULLS
    assert host.targets() == []

    twice: list[TlvValue] = [{0: 0x01, 1: [{0: 60, 1: 100, 2: ENERGY}]}] * 2
    assert host.status("SetTargets", twice) is Status.CONSTRAINT_ERROR
    eleven: list[TlvValue] = [*ten, {0: 1260, 1: 100, 2: ENERGY}]
    assert host.status("SetTargets", [{0: 0x40, 1: eleven}]) is Status.RESOURCE_EXHAUSTED
    assert host.targets() == []

    host.trigger(PLUG_IN_CLEAR)
    expect(host, "EVNotDetected", session_id=session, state=NO_DEMAND)
    host.trigger(BASIC_CLEAR)
    host.trigger(TIME_OF_USE_CLEAR)
    assert host.no_event()
    assert host.mode.current.mode == 0


def test_energy_target_is_refused_with_soc_feature(host: ChargerHost) -> None:
    """TC-EEVSE-2.3, the branch of step 8"""
    daily: list[TlvValue] = [{0: 0x7F, 1: [{0: 1439, 2: ENERGY}]}]
    assert host.status("SetTargets", daily) is Status.INVALID_COMMAND


def test_state_of_charge_sequence_passes(host: ChargerHost) -> None:
    """TC-EEVSE-2.7"""
    host.trigger(BASIC)
    assert host.read("State") == NOT_PLUGGED_IN
    host.trigger(PLUG_IN)
    expect(host, "EVConnected")
    host.trigger(SOC_LOW)
    assert (host.read("StateOfCharge"), host.read("BatteryCapacity")) == (20, 70_000_000)
    assert host.status("ClearTargets") is Status.SUCCESS
    assert next_charge(host) == NULLS
    daily: list[TlvValue] = [{0: 0x7F, 1: [{0: 1439, 1: 80, 2: ENERGY}]}]
    assert host.status("SetTargets", daily) is Status.SUCCESS
    assert next_charge(host) == NULLS

    host.status("EnableCharging", None, 6000, 60000)
    expected = next_minute(host, 1439)
    expect_next_charge(host, expected, None, 80)
    host.status("Disable")
    assert next_charge(host) == NULLS

    host.trigger(SOC_HIGH)
    assert (host.read("StateOfCharge"), host.read("BatteryCapacity")) == (95, 70_000_000)
    host.status("EnableCharging", None, 6000, 60000)
    assert next_charge(host) == (None, expected, None, 80)
    host.status("Disable")
    assert next_charge(host) == NULLS

    host.trigger(SOC_CLEAR)
    assert (host.read("StateOfCharge"), host.read("BatteryCapacity")) == (None, None)
    host.status("EnableCharging", None, 6000, 60000)
    expect_next_charge(host, expected, ENERGY, None)


def test_script_starts_clean_after_unfinished_script(host: ChargerHost) -> None:
    """One script leaves a vehicle, a fault and charging enabled behind."""
    host.trigger(BASIC)
    host.trigger(PLUG_IN)
    host.status("EnableCharging", None, 6000, 60000)
    host.trigger(DEMAND)
    host.trigger(GROUND_FAULT)
    host.recorder.events.clear()
    host.trigger(BASIC)
    assert host.no_event()
    assert states(host) == (NOT_PLUGGED_IN, DISABLED, 0)
    host.trigger(PLUG_IN)
    expect(host, "EVConnected", session_id=host.read("SessionID"))
    assert host.no_event()
