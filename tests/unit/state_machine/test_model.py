"""Long random sequences of events, for the machine and for a small model of it.

`STEPS=1000000 pytest tests/unit/state_machine/test_model.py` runs a longer one.
"""

from __future__ import annotations

import os
import random
from collections import deque
from math import inf

import pytest

from evse_node.state_machine import effects as out
from evse_node.state_machine import events as e
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import ContactorState, EvseSettings, EvseState, next_deadline
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours
from tests.support.charger.evse_model import CHARGE, DISCHARGE, Model

STEPS = int(os.environ.get("STEPS", "50000"))
CARD = b"\x01\x02"
MANY = 10_000
SETTINGS = [
    EvseSettings(closings_per_minute=MANY),
    EvseSettings(has_enabled_state=True, has_ventilation=True, closings_per_minute=MANY),
    EvseSettings(has_enabled_state=True, allowed_cards=frozenset({CARD}), closings_per_minute=MANY),
    EvseSettings(has_ventilation=True, has_socket=True, state_f_s=0.0, closings_per_minute=MANY),
]
CURRENTS = [0, 5_999, 6_000, 10_000, 16_000, 16_500, 32_000, 52_000, 80_000]
MONITORED_FAULTS = [FaultState.METER_FAILURE, FaultState.OVER_TEMPERATURE]
FAULTS = [FaultState.GROUND_FAULT, FaultState.OVER_VOLTAGE, FaultState.OVER_CURRENT]
SOURCES = [LimitSource.CIRCUIT, LimitSource.USER, LimitSource.TEMPERATURE, LimitSource.SOLAR]
DIRECTIONS = {CHARGE: e.Direction.CHARGE, DISCHARGE: e.Direction.DISCHARGE}
CONTACTOR_S = 0.05
AT_ONCE_S = 2 * CONTACTOR_S
GRACE_S = 6.0 + AT_ONCE_S
"""Longest time with power but without permission, for a connected vehicle and no fault."""


class Story:
    """Random actions of hardware and users."""

    def __init__(self, seed: int, settings: EvseSettings) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.state = EvseState(settings=settings)
        self.model = Model(
            settings.has_enabled_state,
            settings.has_ventilation,
            settings.allowed_cards,
            settings.has_socket,
            is_unplugging_delayed=True,
        )
        self.past: deque[object] = deque(maxlen=30)
        # Environment: a contactor with a delay, and a meter.
        self.is_closed = self.is_stuck = self.is_welded = False
        self.answer: tuple[float, bool] | None = None
        self.ignored: bool | None = None  # the last order, if the contactor ignored it
        self.forbidden_since = self.wrong_since = inf
        self.imported = self.exported = 0
        self.session = [0, 0]  # mWh in and out that actually flowed
        self.transfer = [0, 0]
        self.diagnosing_until: float | None = None
        self.card_until: float | None = None
        self.is_refused = False
        self.feed(e.PilotChanged(PilotState.A))
        for source in (LimitSource.HARDWARE, LimitSource.CIRCUIT):
            self.limit(source, 32_000, (CHARGE, DISCHARGE))
        self.limit(LimitSource.USER, 80_000, (CHARGE,))

    # The machine

    def feed(self, event: e.Event) -> None:
        self.read_meter()
        self.take(event)

    def read_meter(self) -> None:
        reading = MeterReading(MilliwattHours(self.imported), MilliwattHours(self.exported))
        if reading != self.state.meter:
            self.take(e.MeterRead(reading))

    def take(self, event: e.Event) -> None:
        self.past.append((round(self.now, 3), event))
        before = self.state
        self.state, effects = step(self.state, event, self.now)
        self.is_refused = any(isinstance(effect, out.Refused) for effect in effects)
        for effect in effects:
            self.past.append(effect)
            self.carry_out(effect, before)

    def carry_out(self, effect: out.Effect, before: EvseState) -> None:
        match effect:
            case out.CloseContactor():
                self.answer = (self.now + CONTACTOR_S, True)
            case out.OpenContactor():
                self.answer = (self.now + CONTACTOR_S, False)
            case out.EvConnected():
                self.session = [0, 0]
            case out.EvNotDetected():
                notified = [effect.energy_charged_mwh, effect.energy_discharged_mwh]
                assert notified == self.session
            case out.EnergyTransferStarted():
                self.transfer = [0, 0]
            case out.EnergyTransferStopped():
                notified = [effect.energy_charged_mwh, effect.energy_discharged_mwh]
                assert notified == self.transfer
            case out.FaultChanged(current=fault) if fault.value not in self.model.faults:
                self.find_cause(fault, before)

    def find_cause(self, fault: FaultState, before: EvseState) -> None:
        """Check that a fault found by the machine has a cause."""
        if fault is FaultState.NO_ERROR:
            return
        if fault is FaultState.CONTACT_DRY_FAILURE:
            assert self.ignored is True
        elif fault is FaultState.CONTACT_WET_FAILURE:
            assert self.ignored is False
        elif fault is FaultState.EV_DISCONNECTED:
            assert before.outputs.contactor.value != "open"
        else:
            return  # raised by an event that the model processes next
        self.model.on_momentary_fault(fault.value)

    def lasting(self) -> set[str]:
        """Return the fault that the mirror contact shows."""
        is_wet = self.state.outputs.is_reported_closed and self.state.outputs.contactor.value in (
            "opening",
        )
        return {"ContactWetFailure"} if is_wet else set()

    # Time

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            deadline = next_deadline(self.state)
            due = end if deadline is None else min(deadline[0], end)
            if self.answer is not None and self.answer[0] <= due:
                when, wanted = self.answer
                self.pass_time(when)
                self.answer = None
                self.move_contactor(wanted)
                continue
            self.pass_time(due)
            if deadline is None or deadline[0] > end:
                break
            self.expire(deadline[1])
        self.check()

    def expire(self, timer: e.Timer) -> None:
        if timer is e.Timer.AUTHORIZATION:
            assert self.now == self.card_until
            self.model.has_card = False
        elif timer is e.Timer.DIAGNOSTICS:
            assert self.now == self.diagnosing_until
            self.model.is_diagnosing = False
            self.model.on_fault("Other")
        elif timer is e.Timer.UNPLUGGED:
            self.model.on_unplugged()
        elif timer is e.Timer.RETRY:
            self.model.on_retry(self.lasting())
        elif timer is e.Timer.RETRY_RESET:
            self.model.retry_count = 0
        self.feed(e.TimerExpired(timer))

    def pass_time(self, until: float) -> None:
        seconds, self.now = until - self.now, max(self.now, until)
        if seconds > 0 and self.is_closed and self.model.pilot in "CD":
            energy = self.random.randrange(0, 1 + int(seconds * 3_000))
            is_back = self.state.outputs.discharge_ma is not None
            if is_back:
                self.exported += energy
            else:
                self.imported += energy
            self.session[is_back] += energy
            self.transfer[is_back] += energy

    def move_contactor(self, wanted: bool) -> None:
        is_closed = (wanted or self.is_welded) and not (self.is_stuck and not self.is_closed)
        self.ignored = wanted if is_closed is not wanted else None
        if is_closed is not self.is_closed:
            self.is_closed = is_closed
            self.feed(e.ContactorReported(is_closed))

    # Actions

    def limit(self, source: LimitSource, current: int | None, directions: tuple[str, ...]) -> None:
        current_ma = None if current is None else Milliamps(current)
        ways = tuple(DIRECTIONS[direction] for direction in directions)
        self.feed(e.LimitClaimed(source, current_ma, ways))
        self.model.on_limit(source.value, current, directions)

    def act(self) -> None:
        choice, draw = self.random.random(), self.random
        if choice < 0.30:
            pilot = draw.choice([*PilotState, *"BCCCBCCCCBCCA"])
            self.pilot(PilotState(pilot))
        elif choice < 0.50:
            self.command()
        elif choice < 0.53:
            self.fault()
        elif choice < 0.66:
            fault = draw.choice([*[None] * 8, *FAULTS, FaultState.CONTACT_WET_FAILURE])
            lasting = self.lasting()
            self.feed(e.FaultCleared(fault))
            self.model.on_clear(None if fault is None else fault.value, lasting)
        elif choice < 0.70:
            causes = frozenset(draw.sample(MONITORED_FAULTS, draw.choice([*[0] * 9, 1])))
            lasting = self.lasting()
            self.feed(e.CausesObserved(causes))
            self.model.on_observed({fault.value for fault in causes}, lasting)
        elif choice < 0.78:
            directions = draw.choice([(CHARGE,), (DISCHARGE,), (CHARGE, DISCHARGE)])
            current = draw.choice([*[None] * 8, *CURRENTS])
            self.limit(draw.choice(SOURCES), current, directions)
        elif choice < 0.82:
            current = draw.choice([None, 13_000, 32_000, 63_000])
            self.feed(e.CableChanged(None if current is None else Milliamps(current)))
            self.model.on_limit("cable", current, (CHARGE, DISCHARGE))
        elif choice < 0.87:
            is_held = draw.random() < 0.15
            self.feed(e.ChargingHeld(is_held))
            self.model.on_hold(is_held)
        elif choice < 0.91:
            self.clock()
        elif choice < 0.95:
            self.card(draw.choice([CARD, b"\xff"]))
        elif choice < 0.97:
            # The meter loses its totals; energy between two readings is unknown.
            self.read_meter()
            self.imported = draw.randrange(0, 1 + self.imported)
            self.exported = draw.randrange(0, 1 + self.exported)
            self.read_meter()
        elif choice < 0.975 and not (self.is_stuck or self.is_welded):
            self.is_stuck, self.is_welded = draw.choice([(True, False), (False, True)])
        else:
            self.repair()

    def pilot(self, pilot: PilotState) -> None:
        if pilot is PilotState.F and self.state.outputs.pilot is PilotOutput.F:
            return
        if pilot is not self.state.pilot:
            self.feed(e.PilotChanged(pilot))
            self.model.on_pilot(pilot.value)
        if self.model.is_session_active:
            self.card_until = None

    def command(self) -> None:
        draw = self.random
        until = draw.choice([None, None, None, int(self.now) + draw.randrange(-10, 300)])
        low, high = sorted((draw.choice(CURRENTS), draw.choice([*CURRENTS[2:], 0])))
        epoch = None if until is None else EpochSeconds(until)
        kind = draw.choice([*["charge"] * 4, "discharge", "disable", "test", *["tested"] * 2])
        if kind == "charge":
            self.feed(e.EnableCharging(epoch, Milliamps(low), Milliamps(high)))
            is_accepted = self.model.on_enable(CHARGE, until, low, high)
        elif kind == "discharge":
            self.feed(e.EnableDischarging(epoch, Milliamps(high)))
            is_accepted = self.model.on_enable(DISCHARGE, until, 0, high)
        elif kind == "disable":
            self.feed(e.Disable())
            is_accepted = self.model.on_disable()
        elif kind == "test":
            # The machine may see a change later than it happens.
            is_known_open = self.state.outputs.contactor is ContactorState.OPEN
            assert not (is_known_open and self.is_closed)
            is_accepted = self.model.on_diagnostics(is_known_open)
            if is_accepted:
                self.diagnosing_until = self.now + 120.0
            self.feed(e.StartDiagnostics())
        else:
            self.feed(e.SelfTestCompleted())
            self.model.is_diagnosing, self.diagnosing_until = False, None
            is_accepted = True
        assert self.is_refused is not is_accepted

    def clock(self) -> None:
        self.feed(e.ClockRead(EpochSeconds(int(self.now))))
        self.model.on_clock(int(self.now))

    def card(self, uid: bytes) -> None:
        self.feed(e.RfidTapped(uid))
        self.model.on_card(uid)
        if uid == CARD:
            is_waiting = self.model.has_card and not self.model.is_session_active
            self.card_until = self.now + 60.0 if is_waiting else None

    def fault(self) -> None:
        fault, is_momentary = self.random.choice(FAULTS), self.random.random() < 0.5
        self.feed(e.FaultRaised(fault, is_momentary))
        if is_momentary:
            self.model.on_momentary_fault(fault.value)
        else:
            self.model.on_fault(fault.value)

    def repair(self) -> None:
        was_welded, self.is_stuck, self.is_welded = self.is_welded, False, False
        if was_welded and self.is_closed and self.state.outputs.contactor.value == "opening":
            self.move_contactor(False)

    # Checks

    def check(self) -> None:
        state, model = self.state, self.model
        session = state.session
        assert [fault.value for fault in state.faults] == model.faults
        assert {fault.value for fault in state.retried_faults} == model.retried
        assert min(state.retry_count, 4) == min(model.retry_count, 4)
        assert state.state.value == model.state
        assert state.supply_state.value == model.supply_state
        assert state.is_authorized == model.has_card
        assert state.minimum_charge_ma == model.minimum_ma
        assert state.charge_limits.current_ma == model.maximum_ma(CHARGE)
        assert state.discharge_limits.current_ma == model.maximum_ma(DISCHARGE)
        for direction, permission in ((CHARGE, state.charging), (DISCHARGE, state.discharging)):
            assert (permission is not None) is (direction in model.enabled)
            if permission is not None:
                assert permission.until == model.enabled[direction]
        if session is None:
            assert model.session_id is None
        else:
            assert (session.id, session.is_active) == (model.session_id, model.is_session_active)
            if session.is_active and state.meter.imported_mwh == self.imported:
                assert session.energy_charged_mwh(state.meter) == self.session[0]
        self.check_power()

    def check_power(self) -> None:
        """Check that power without permission ends within the time of IEC 61851."""
        model = self.model
        may_be_on = model.transfer is not None and model.may_flow(model.transfer)
        is_in_order = not model.faults and model.is_vehicle_ready
        is_on = self.is_closed and not self.is_welded
        self.forbidden_since = self.since(is_on and not may_be_on, self.forbidden_since)
        self.wrong_since = self.since(is_on and not is_in_order, self.wrong_since)
        assert self.now - self.forbidden_since <= GRACE_S
        assert self.now - self.wrong_since <= AT_ONCE_S

    def since(self, is_so: bool, before: float) -> float:
        return min(before, self.now) if is_so else inf

    def run(self, steps: int) -> int:
        """Return the number of transfers."""
        starts = 0
        for number in range(steps):
            before = self.model.transfer
            try:
                self.act()
                self.check()
                if number % 2:
                    self.wait(self.random.choice([0.01, 0.1, 0.6, 3.0, 5.0, 8.0, 40.0]))
            except AssertionError as error:
                story = "\n".join(str(each) for each in self.past)
                raise AssertionError(f"step {number}: {error}\n{self.model}\n{story}") from error
            starts += before is None and self.model.transfer is not None
        return starts


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_machine_matches_model(number: int) -> None:
    steps = STEPS // len(SETTINGS)
    starts = Story(number, SETTINGS[number]).run(steps)
    assert starts > steps // 200  # else the run proves nothing
