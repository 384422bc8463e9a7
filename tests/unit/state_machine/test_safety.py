"""For any sequence of events, the contactor closes only with permission."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.state_machine import events as e
from evse_node.state_machine.control_pilot import PilotOutput, PilotState, offer_ma
from evse_node.state_machine.effects import (
    BaseOrder,
    CloseContactor,
    Effect,
    EnergyTransferStarted,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    OfferCurrent,
    OpenContactor,
    SafetyOrder,
    SignalUnavailable,
    UnlockCable,
    WithdrawOffer,
)
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import ContactorState, EvseSettings, EvseState
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours

currents = st.sampled_from([0, 5_999, 6_000, 10_000, 32_000, 52_000, 80_000]).map(Milliamps)
untils = st.none() | st.integers(0, 100).map(EpochSeconds)

events: st.SearchStrategy[e.Event] = st.one_of(
    # Pilot events are more frequent, so that charging occurs at all.
    st.builds(e.PilotChanged, st.sampled_from(PilotState)),
    st.builds(e.PilotChanged, st.sampled_from([PilotState.B, PilotState.C])),
    st.builds(e.ContactorReported, st.booleans()),
    st.builds(e.CableChanged, st.none() | currents),
    st.builds(
        e.MeterRead,
        st.builds(
            MeterReading,
            st.integers(0, 1000).map(MilliwattHours),
            st.integers(0, 1000).map(MilliwattHours),
        ),
    ),
    st.builds(e.FaultRaised, st.sampled_from(FaultState)),
    st.builds(e.FaultCleared, st.none() | st.sampled_from(FaultState)),
    st.just(e.FaultCleared()),
    st.builds(e.EnableCharging, untils, currents, currents),
    st.builds(e.EnableDischarging, untils, currents),
    st.just(e.Disable()),
    st.just(e.StartDiagnostics()),
    st.just(e.SelfTestCompleted()),
    st.builds(
        e.LimitClaimed,
        st.sampled_from([LimitSource.CIRCUIT, LimitSource.USER, LimitSource.TEMPERATURE]),
        currents,
    ),
    st.builds(e.ChargingHeld, st.booleans()),
    st.builds(e.DischargeRequested, st.booleans()),
    st.builds(e.ClockRead, st.integers(0, 100).map(EpochSeconds)),
    st.just(e.Reset()),
    st.builds(e.TimerExpired, st.sampled_from(e.Timer)),
)
Story: TypeAlias = list[tuple[float, e.Event]]
CHARGING: Story = [
    (0.0, e.CableChanged(Milliamps(32_000))),
    (0.0, e.EnableCharging(None, Milliamps(6_000), Milliamps(16_000))),
    (0.0, e.PilotChanged(PilotState.B)),
    (0.0, e.PilotChanged(PilotState.C)),
    (0.1, e.ContactorReported(True)),
]
# Most sequences begin with charging, which is rare by chance.
stories = st.builds(
    list.__add__,
    st.sampled_from([CHARGING, CHARGING, []]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 7.0, 40.0]), events), max_size=60),
)
evse_settings = st.builds(
    EvseSettings,
    has_enabled_state=st.booleans(),
    has_ventilation=st.booleans(),
    has_socket=st.booleans(),
)


def is_permitted(state: EvseState) -> bool:
    """Return whether power may be on, independently of the machine's own condition."""
    vehicle = {PilotState.C} | ({PilotState.D} if state.settings.has_ventilation else set())
    enabled = {
        SupplyState.CHARGING_ENABLED,
        SupplyState.DISCHARGING_ENABLED,
        SupplyState.ENABLED,
    }
    return (
        state.pilot in vehicle
        and state.supply_state in enabled
        and not state.faults
        and state.outputs.pilot is PilotOutput.X2
        and (not state.settings.has_socket or LimitSource.CABLE in state.charge_limits.claims)
    )


def is_on(state: EvseState) -> bool:
    return state.outputs.contactor in (ContactorState.CLOSED, ContactorState.CLOSING)


def check_order(effect: Effect, state: EvseState) -> None:
    match effect:
        case CloseContactor():
            assert is_permitted(state)
            assert state.outputs.is_locked
            assert state.outputs.contactor is ContactorState.CLOSING
        case OfferCurrent(current_ma):
            assert offer_ma(current_ma) == current_ma
        case UnlockCable():
            assert state.outputs.contactor is ContactorState.OPEN
            assert not state.outputs.is_reported_closed


def test_contactor_never_closes_without_permission() -> None:
    seen = Counter[str]()

    @settings(max_examples=400, deadline=None)
    @given(evse_settings, stories)
    def run(settings: EvseSettings, story: Story) -> None:
        state, now = EvseState(settings=settings), 0.0
        grace_until = 0.0
        for delay, event in story:
            now += delay
            before = state
            state, effects = step(state, event, now)
            for effect in effects:
                seen[type(effect).__name__] += 1
                check_order(effect, state)
                if isinstance(effect, WithdrawOffer | SignalUnavailable):
                    grace_until = now + settings.stop_grace_s
            if is_on(state) and not is_permitted(state):
                # Only in the grace period: no fault, still in state C, and limited. A deadline
                # that has passed counts from its event on.
                seen["grace"] += 1
                assert not state.faults
                assert state.is_vehicle_ready
                assert state.timers[e.Timer.STOP_GRACE] <= grace_until
            if is_on(before) and not is_on(state):
                assert any(isinstance(effect, OpenContactor) for effect in effects)

    run()
    # Else the test proves nothing.
    assert min(seen["CloseContactor"], seen["OpenContactor"], seen["grace"]) > 20, seen


@settings(max_examples=200, deadline=None)
@given(evse_settings, stories)
def test_notifications_are_consistent(settings: EvseSettings, story: Story) -> None:
    """Sessions and transfers begin and end in turn, and each state matches the facts."""
    state, now = EvseState(settings=settings), 0.0
    is_session, is_transfer = False, False
    for delay, event in story:
        now += delay
        state, effects = step(state, event, now)
        if isinstance(event, e.Reset):
            is_session = is_transfer = False
        for effect in effects:
            match effect:
                case EvConnected():
                    assert not is_session
                    is_session = True
                case EvNotDetected():
                    assert is_session
                    assert not is_transfer
                    is_session = False
                case EnergyTransferStarted():
                    assert is_session
                    assert not is_transfer
                    is_transfer = True
                case EnergyTransferStopped():
                    assert is_transfer
                    is_transfer = False
        assert (state.state is State.FAULT) == bool(state.faults)
        assert (state.session is not None and state.session.is_active) == is_session
        if state.state is not State.FAULT:
            assert is_session == (state.state is not State.NOT_PLUGGED_IN)
            assert is_transfer == state.state.is_transferring
        if state.state.is_transferring:
            assert state.is_vehicle_ready
            assert offer_ma(min(state.charge_limits.current_ma, 80_000)) or state.discharging


def test_safety_orders_are_complete() -> None:
    names = {order.__name__ for order in SafetyOrder.__subclasses__()}
    assert names == {"OpenContactor", "WithdrawOffer", "SignalUnavailable"}
    assert issubclass(SafetyOrder, BaseOrder)
