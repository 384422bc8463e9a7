"""What a vehicle takes of what it is offered: learned from the meter, once it charges.

A charger offers a current on all its phases. A vehicle may use fewer phases, and its own
charger may bear less; a plan that counts on the whole offer would then start too late.

The most that it took for a minute counts. So neither the ramp at the start, nor a pause, nor a
battery that is nearly full, nor an offer that is low for a time makes it look slow. A meter
that cannot tell phases apart makes each vehicle look as if it used them all.

Until a vehicle has charged for a while, nobody knows which one it is. A plan that is to hold for
any then counts on the least with which one can charge at all; where only vehicles come that were
here before, on the slowest of those.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from evse_node.hal.interface import MeterValues
from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA, PilotOutput
from evse_node.state_machine.enums import State
from evse_node.state_machine.state import ContactorState, EvseState
from evse_node.units import UINT63, Milliamps

_SETTLE_S: Final = 30.0
"""A vehicle needs a while to reach what it is going to take."""
_WINDOW_S: Final = 60.0
_IDLE_MA: Final = 1_000
"""Less than this is no charging."""
_TOLERANCE_MA: Final = 1_000
"""An offer may rise by this much, and a vehicle stay this much below it, as measured."""
_STEP_MA: Final = 500
_TYPICAL_MWH: Final = 5_000_000
"""A session with less says nothing of the next one: the battery may have been nearly full."""
_RECENT: Final = 8
"""So many vehicles are remembered that differ in what they take."""


class VehicleDraw(Struct, frozen=True):
    """The phases that a vehicle uses, and the highest current that it took on one for a while.

    `is_own_limit`: it was offered more at the same time.
    """

    phases: Annotated[int, Meta(ge=1)]
    current_ma: Annotated[Milliamps, UINT63] = Milliamps(0)
    is_own_limit: bool = False

    def expected_ma(self, offered_ma: Milliamps) -> Milliamps:
        """Return the current that it can be expected to take."""
        return min(offered_ma, self.current_ma) if self.is_own_limit else offered_ma

    def minimum_ma(self, offered_ma: Milliamps) -> Milliamps:
        """Return the current that it takes at least, as far as was seen."""
        if self.is_own_limit:
            return min(offered_ma, self.current_ma)
        return min(offered_ma, max(self.current_ma, MINIMUM_OFFER_MA))

    def is_known_at(self, offered_ma: Milliamps) -> bool:
        """Tell whether it was seen what it takes of such an offer."""
        return self.is_own_limit or not _is_less(self.current_ma, offered_ma)


_SLOWEST: Final = VehicleDraw(1, MINIMUM_OFFER_MA, is_own_limit=True)


class LearnedDraws(Struct, frozen=True):
    """What is known in a session: of its own vehicle, and of those that were here lately.

    `recent` has numbers of sessions with what was taken in them, the last one at the end.
    """

    session_id: int | None = None
    present: VehicleDraw | None = None
    recent: tuple[tuple[int, VehicleDraw], ...] = ()

    @property
    def expected(self) -> VehicleDraw | None:
        """What is likely. Until it was seen, today's vehicle is taken for the last one."""
        if self.present is not None or not self.recent:
            return self.present
        return self.recent[-1][1]

    def candidates(self, session_id: int | None, *, may_be_new: bool) -> tuple[VehicleDraw, ...]:
        """Return all that the vehicle of a session may turn out to be.

        Unless it `may_be_new`, it is one of the recent ones, if there was any.
        """
        known = () if may_be_new else tuple(intake for _, intake in self.recent)
        known = known or (_SLOWEST,)
        present = self.present
        if present is None or self.session_id != session_id:
            return known
        if present.is_own_limit:
            return (present,)
        # It took all of an offer, or only its phases are known: it may be slower with more.
        return tuple(
            replace(
                each, phases=present.phases, current_ma=max(each.current_ma, present.current_ma)
            )
            for each in known
        )

    def with_recent(self, session_id: int, intake: VehicleDraw) -> LearnedDraws:
        """Return what is known after a session in which this was taken."""
        others = (each for each in self.recent if each[0] != session_id and each[1] != intake)
        return replace(self, recent=(*others, (session_id, intake))[-_RECENT:])


class DrawEstimator:
    """Watches one charger's meter. `learned` is what it knows, another object when it changes."""

    def __init__(self, learned: LearnedDraws | None = None) -> None:
        self.learned = learned or LearnedDraws()
        self._charging_since: float | None = None
        self._window: _Window | None = None

    def observe(self, state: EvseState, values: MeterValues | None, now: float) -> None:
        """Take in what the meter shows now."""
        session = state.session
        if session is None or not session.is_active:
            return
        if session.id != self.learned.session_id:
            self.learned = LearnedDraws(session.id, None, self.learned.recent)
        if values is None or not _is_charging(state):
            self._charging_since = self._window = None
            return
        self._look_at_current(values, state.outputs.offered_ma, now)
        present = self.learned.present
        if present is None or not present.current_ma:
            return
        is_typical = session.energy_charged_mwh(state.meter) >= _TYPICAL_MWH
        if is_typical and self.learned.recent[-1:] != ((session.id, present),):
            self.learned = self.learned.with_recent(session.id, present)

    def _look_at_current(self, values: MeterValues, offered_ma: Milliamps, now: float) -> None:
        window, since = self._window, self._charging_since
        if since is None:
            since = self._charging_since = now
        if window is None or offered_ma > window.offered_ma + _TOLERANCE_MA:
            window = self._window = _Window(now + _SETTLE_S, offered_ma)
        window.offered_ma = min(window.offered_ma, offered_ma)
        currents_ma = [abs(current_ma) for current_ma in values.currents_ma]
        if now - since >= _SETTLE_S:
            self._note_phases(currents_ma)
        if now < window.begins_at:
            return
        window.total_ma += max(currents_ma, default=0)
        window.samples += 1
        if now - window.begins_at >= _WINDOW_S:
            self._conclude(window.total_ma // window.samples, window.offered_ma)
            self._window = _Window(now, offered_ma)

    def _note_phases(self, currents_ma: list[int]) -> None:
        highest_ma = max(currents_ma, default=0)
        if highest_ma < _IDLE_MA:
            return
        phases = sum(current_ma * 2 >= highest_ma for current_ma in currents_ma)
        present = self.learned.present
        if present is None:
            self.learned = replace(self.learned, present=VehicleDraw(phases))
        elif phases > present.phases:
            self.learned = replace(self.learned, present=replace(present, phases=phases))

    def _conclude(self, taken_ma: int, offered_ma: int) -> None:
        present = self.learned.present
        if present is None or taken_ma < _IDLE_MA:
            return
        is_less = _is_less(taken_ma, offered_ma)
        rounded_ma = Milliamps(taken_ma // _STEP_MA * _STEP_MA)
        if rounded_ma > present.current_ma:
            present = replace(present, current_ma=rounded_ma, is_own_limit=is_less)
        elif is_less and not present.is_own_limit and rounded_ma >= present.current_ma - _STEP_MA:
            present = replace(present, is_own_limit=True)
        if present != self.learned.present:
            self.learned = replace(self.learned, present=present)


class _Window(Struct):
    """A time over which a current is averaged. `offered_ma` is the lowest offer in it."""

    begins_at: float
    offered_ma: int
    total_ma: int = 0
    samples: int = 0


def _is_less(taken_ma: int, offered_ma: int) -> bool:
    # A tenth less is what some vehicles leave as a matter of course.
    return taken_ma * 10 < offered_ma * 9 and taken_ma < offered_ma - _TOLERANCE_MA


def _is_charging(state: EvseState) -> bool:
    outputs = state.outputs
    return (
        state.state is State.PLUGGED_IN_CHARGING
        and outputs.contactor is ContactorState.CLOSED
        and outputs.pilot is PilotOutput.X2
    )
