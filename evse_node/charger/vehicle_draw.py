"""Draw of vehicles, estimated from the meter while they charge.

A charger offers a current on all its phases. A vehicle may use fewer phases, and its on-board
charger may be limited to less; a plan that relies on the whole offer would start too late.

The highest average of a minute counts. Thus neither the ramp at the start, a pause, a battery
that is nearly full nor a temporarily low offer makes a vehicle look slow. With a meter that does
not measure phases separately, each vehicle appears to use them all.

Until a vehicle has charged for a while, its draw is unknown. A plan that must hold for any vehicle
then relies on the minimum of 6 A on one phase; where only known vehicles are expected, on the
slowest of these.
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
"""Time that a vehicle needs to reach its current."""
_WINDOW_S: Final = 60.0
_IDLE_MA: Final = 1_000
"""Below this current a vehicle does not charge."""
_TOLERANCE_MA: Final = 1_000
"""Largest rise of the offer within a window, and shortfall that counts as the full offer."""
_STEP_MA: Final = 500
_TYPICAL_MWH: Final = 5_000_000
"""A session with less energy is not representative: the battery may have been nearly full."""
_RECENT: Final = 8
"""Number of vehicles with a different draw that are kept."""


class VehicleDraw(Struct, frozen=True):
    """Phases that a vehicle uses, and the highest average current on one of them.

    `is_own_limit`: the offer was higher, so this is the vehicle's own limit.
    """

    phases: Annotated[int, Meta(ge=1)]
    current_ma: Annotated[Milliamps, UINT63] = Milliamps(0)
    is_own_limit: bool = False

    def expected_ma(self, offered_ma: Milliamps) -> Milliamps:
        """Return the current that the vehicle is expected to draw."""
        return min(offered_ma, self.current_ma) if self.is_own_limit else offered_ma

    def minimum_ma(self, offered_ma: Milliamps) -> Milliamps:
        """Return the current that the vehicle draws at least, as measured."""
        if self.is_own_limit:
            return min(offered_ma, self.current_ma)
        return min(offered_ma, max(self.current_ma, MINIMUM_OFFER_MA))

    def is_known_at(self, offered_ma: Milliamps) -> bool:
        """Return whether the draw at such an offer was measured."""
        return self.is_own_limit or not _is_less(self.current_ma, offered_ma)


_SLOWEST: Final = VehicleDraw(1, MINIMUM_OFFER_MA, is_own_limit=True)


class LearnedDraws(Struct, frozen=True):
    """Draws measured in a session (`present`) and in earlier ones (`recent`).

    `recent` has pairs of session id and draw, the latest at the end.
    """

    session_id: int | None = None
    present: VehicleDraw | None = None
    recent: tuple[tuple[int, VehicleDraw], ...] = ()

    @property
    def expected(self) -> VehicleDraw | None:
        """The likely draw: the measured one, else that of the latest vehicle."""
        if self.present is not None or not self.recent:
            return self.present
        return self.recent[-1][1]

    def candidates(self, session_id: int | None, *, may_be_new: bool) -> tuple[VehicleDraw, ...]:
        """Return the possible draws of a session's vehicle.

        Unless it `may_be_new`, it is one of the recent vehicles, if any.
        """
        known = () if may_be_new else tuple(draw for _, draw in self.recent)
        known = known or (_SLOWEST,)
        present = self.present
        if present is None or self.session_id != session_id:
            return known
        if present.is_own_limit:
            return (present,)
        # It drew the full offer, or only its phases are known: at a higher offer it may be slower.
        return tuple(
            replace(
                each, phases=present.phases, current_ma=max(each.current_ma, present.current_ma)
            )
            for each in known
        )

    def with_recent(self, session_id: int, draw: VehicleDraw) -> LearnedDraws:
        """Return the learned draws with a session's draw as the latest."""
        others = (each for each in self.recent if each[0] != session_id and each[1] != draw)
        return replace(self, recent=(*others, (session_id, draw))[-_RECENT:])


class DrawEstimator:
    """Estimator of one charger. `learned` is replaced by another object when it changes."""

    def __init__(self, learned: LearnedDraws | None = None) -> None:
        self.learned = learned or LearnedDraws()
        self._charging_since: float | None = None
        self._window: _Window | None = None

    def observe(self, state: EvseState, values: MeterValues | None, now: float) -> None:
        """Process a reading of the meter."""
        session = state.session
        if session is None or not session.is_active:
            return
        if session.id != self.learned.session_id:
            self.learned = LearnedDraws(session.id, None, self.learned.recent)
        if values is None or not _is_charging(state):
            self._charging_since = self._window = None
            return
        self._observe_current(values, state.outputs.offered_ma, now)
        present = self.learned.present
        if present is None or not present.current_ma:
            return
        is_typical = session.energy_charged_mwh(state.meter) >= _TYPICAL_MWH
        if is_typical and self.learned.recent[-1:] != ((session.id, present),):
            self.learned = self.learned.with_recent(session.id, present)

    def _observe_current(self, values: MeterValues, offered_ma: Milliamps, now: float) -> None:
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

    def _conclude(self, drawn_ma: int, offered_ma: int) -> None:
        present = self.learned.present
        if present is None or drawn_ma < _IDLE_MA:
            return
        is_less = _is_less(drawn_ma, offered_ma)
        rounded_ma = Milliamps(drawn_ma // _STEP_MA * _STEP_MA)
        if rounded_ma > present.current_ma:
            present = replace(present, current_ma=rounded_ma, is_own_limit=is_less)
        elif is_less and not present.is_own_limit and rounded_ma >= present.current_ma - _STEP_MA:
            present = replace(present, is_own_limit=True)
        if present != self.learned.present:
            self.learned = replace(self.learned, present=present)


class _Window(Struct):
    """Averaging window. `offered_ma` is the lowest offer in it."""

    begins_at: float
    offered_ma: int
    total_ma: int = 0
    samples: int = 0


def _is_less(drawn_ma: int, offered_ma: int) -> bool:
    # Some vehicles always draw a tenth less than offered.
    return drawn_ma * 10 < offered_ma * 9 and drawn_ma < offered_ma - _TOLERANCE_MA


def _is_charging(state: EvseState) -> bool:
    outputs = state.outputs
    return (
        state.state is State.PLUGGED_IN_CHARGING
        and outputs.contactor is ContactorState.CLOSED
        and outputs.pilot is PilotOutput.X2
    )
