"""Every pair of state and event, with its notifications and next state."""

from __future__ import annotations

import pytest

from evse_node.state_machine import events as e
from evse_node.state_machine.enums import State
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.transitions import TABLE, Input
from evse_node.units import EpochSeconds, Milliamps
from tests.unit.state_machine.machine import (
    CHARGING,
    DEMAND,
    DISCHARGE,
    DISCHARGING,
    ENABLE,
    FAULT,
    GROUND,
    NO_DEMAND,
    NONE,
    USED_STATES,
    A,
    B,
    C,
    D,
    E,
    F,
    machine_in,
    summary,
)

# By event and state: the notifications, and the next state. "stop:X" is EnergyTransferStopped
# with its reason.
EXPECTED: dict[str, dict[State, tuple[str, State]]] = {
    "pilot A": {
        NONE: ("", NONE),
        NO_DEMAND: ("gone", NONE),
        DEMAND: ("gone", NONE),
        CHARGING: ("stop:Other gone", NONE),
        DISCHARGING: ("stop:Other gone", NONE),
        FAULT: ("gone", FAULT),
    },
    "pilot B": {
        NONE: ("connected", NO_DEMAND),
        NO_DEMAND: ("", NO_DEMAND),
        DEMAND: ("", NO_DEMAND),
        CHARGING: ("stop:EVStopped", NO_DEMAND),
        DISCHARGING: ("stop:EVStopped", NO_DEMAND),
        FAULT: ("", FAULT),
    },
    "pilot C": {
        NONE: ("connected", DEMAND),
        NO_DEMAND: ("", DEMAND),
        DEMAND: ("", DEMAND),
        CHARGING: ("", CHARGING),
        DISCHARGING: ("", DISCHARGING),
        FAULT: ("", FAULT),
    },
    # Without ventilation, D is not charged.
    "pilot D": {
        NONE: ("connected", DEMAND),
        NO_DEMAND: ("", DEMAND),
        DEMAND: ("", DEMAND),
        CHARGING: ("stop:EVSEStopped", DEMAND),
        DISCHARGING: ("stop:EVSEStopped", DEMAND),
        FAULT: ("", FAULT),
    },
    "pilot E": dict.fromkeys(USED_STATES, ("fault", FAULT)),
    "pilot F": dict.fromkeys(USED_STATES, ("fault", FAULT)),
    "ground fault": dict.fromkeys(USED_STATES, ("fault", FAULT)) | {FAULT: ("", FAULT)},
    "other fault": dict.fromkeys(USED_STATES, ("fault", FAULT)),
    "cause seen": dict.fromkeys(USED_STATES, ("fault", FAULT)),
    "faults cleared": {state: ("", state) for state in USED_STATES} | {FAULT: ("fault", NO_DEMAND)},
    "enable charging": {state: ("", state) for state in USED_STATES}
    | {DEMAND: ("started", CHARGING), DISCHARGING: ("stop:EVSEStopped started", CHARGING)},
    "enable discharging": {state: ("", state) for state in USED_STATES}
    | {DEMAND: ("started", DISCHARGING), CHARGING: ("stop:EVSEStopped started", DISCHARGING)},
    "disable": {state: ("", state) for state in USED_STATES}
    | {CHARGING: ("stop:EVSEStopped", DEMAND), DISCHARGING: ("stop:EVSEStopped", DEMAND)},
    "start diagnostics": {state: ("", state) for state in USED_STATES},
    "diagnostics completed": {state: ("", state) for state in USED_STATES},
    "limit 0": {state: ("", state) for state in USED_STATES}
    | {CHARGING: ("stop:EVSEStopped", DEMAND), DISCHARGING: ("stop:EVSEStopped", DEMAND)},
    "limit 40 A": {state: ("", state) for state in USED_STATES},
    "held": {state: ("", state) for state in USED_STATES}
    | {CHARGING: ("stop:EVSEStopped", DEMAND)},
    "let go": {state: ("", state) for state in USED_STATES},
    # Without permission for the other direction.
    "discharge requested": {state: ("", state) for state in USED_STATES},
    "discharge not requested": {state: ("", state) for state in USED_STATES},
    "cable": {state: ("", state) for state in USED_STATES},
    "no cable": {state: ("", state) for state in USED_STATES}
    | {CHARGING: ("fault", FAULT), DISCHARGING: ("fault", FAULT)},
    "clock": {state: ("", state) for state in USED_STATES},
    "meter": {state: ("", state) for state in USED_STATES},
    "card": {state: ("card", state) for state in USED_STATES},
    "battery": {state: ("", state) for state in USED_STATES},
    "vehicle": {state: ("", state) for state in USED_STATES},
    "contactor open": {state: ("", state) for state in USED_STATES},
    "contactor closed": dict.fromkeys(USED_STATES, ("fault", FAULT))
    | {CHARGING: ("", CHARGING), DISCHARGING: ("", DISCHARGING)},
    "reset": dict.fromkeys(USED_STATES, ("", NONE)),
}
EVENTS: dict[str, e.Event] = {
    "pilot A": e.PilotChanged(A),
    "pilot B": e.PilotChanged(B),
    "pilot C": e.PilotChanged(C),
    "pilot D": e.PilotChanged(D),
    "pilot E": e.PilotChanged(E),
    "pilot F": e.PilotChanged(F),
    "ground fault": GROUND,
    "other fault": e.FaultRaised(FaultState.OTHER),
    "cause seen": e.CausesObserved(frozenset({FaultState.OVER_TEMPERATURE})),
    "faults cleared": e.FaultCleared(),
    "enable charging": ENABLE,
    "enable discharging": DISCHARGE,
    "disable": e.Disable(),
    "start diagnostics": e.StartDiagnostics(),
    "diagnostics completed": e.SelfTestCompleted(),
    "limit 0": e.LimitClaimed(LimitSource.GRID, Milliamps(0)),
    "limit 40 A": e.LimitClaimed(LimitSource.GRID, Milliamps(40_000)),
    "held": e.ChargingHeld(True),
    "let go": e.ChargingHeld(False),
    "discharge requested": e.DischargeRequested(True),
    "discharge not requested": e.DischargeRequested(False),
    "cable": e.CableChanged(Milliamps(20_000)),
    "no cable": e.CableChanged(None),
    "clock": e.ClockRead(EpochSeconds(800_000_000)),
    "meter": e.MeterRead(MeterReading()),
    "card": e.RfidTapped(b"1234"),
    "battery": e.BatteryReported(50, None),
    "vehicle": e.VehicleIdentified("me"),
    "contactor open": e.ContactorReported(False),
    "contactor closed": e.ContactorReported(True),
    "reset": e.Reset(),
}
PAIRS = [(state, event) for event in EVENTS for state in USED_STATES]


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda value: str(value))
def test_every_pair_of_state_and_event_has_expected_result(state: State, event: str) -> None:
    machine = machine_in(state)
    machine.put(EVENTS[event])
    assert (summary(machine), machine.state.state) == EXPECTED[event][state]


@pytest.mark.parametrize("timer", e.Timer)
@pytest.mark.parametrize("state", USED_STATES)
def test_timer_before_deadline_changes_nothing(state: State, timer: e.Timer) -> None:
    machine = machine_in(state)
    before = machine.state
    machine.put(e.TimerExpired(timer))
    assert machine.state == before
    assert machine.effects == []


def test_table_has_only_possible_pairs() -> None:
    assert {state for state, _ in TABLE} == set(USED_STATES)
    assert {input_ for _, input_ in TABLE} == set(Input)


def test_every_event_has_a_case() -> None:
    tried = {type(event) for event in EVENTS.values()} | {e.TimerExpired}
    assert tried == set(e.Event.__args__)
