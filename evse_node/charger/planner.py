"""What the wall clock, the charging targets and the sun mean for the charger, one event at a time.

In a mode that follows both targets and sun, the sun charges for nothing until it is time to
start for the target; from then on the target counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.charger.schedule import Schedule
from evse_node.charger.solar import SolarFollower
from evse_node.hal.interface import Ratings
from evse_node.state_machine.events import (
    ChargingHeld,
    ClockRead,
    Direction,
    Event,
    LimitClaimed,
)
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import EvseState
from evse_node.units import (
    EpochSeconds,
    Milliamps,
    epoch_s_from_utc_ms,
    power_mw,
    utc_ms_from_epoch_s,
)

_CLOCK_UNKNOWN_RETRY_S: Final = 30.0
"""How often to look for the wall clock while something waits for it."""
_CLOCK_LONGEST_WAIT_S: Final = 60.0
"""The wall clock may be set while something waits for it, so no wait is longer than this."""


class Planner:
    """Schedule, sun and clock of one charger."""

    def __init__(
        self,
        schedule: Schedule,
        solar: SolarFollower,
        ratings: Ratings,
        utc_ms: Callable[[], int | None],
    ) -> None:
        self.schedule = schedule
        self.solar = solar
        self._ratings = ratings
        self._utc_ms = utc_ms
        self._look_again_at: float | None = None

    def next_deadline(self) -> float | None:
        """Return when to look again (monotonic seconds), or None."""
        moments = [self._look_again_at]
        if self.solar.is_followed:
            moments.append(self.solar.next_deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def look(self, state: EvseState, now: float, *, has_sun: bool = True) -> Event | None:
        """Return what the charger is to be told next; None when it is up to date.

        Without `has_sun`, charging does not follow the sun for now.
        """
        utc_ms = self._utc_ms()
        epoch_s = None if utc_ms is None else epoch_s_from_utc_ms(utc_ms)
        permissions = (state.charging, state.discharging)
        ends = [each.until for each in permissions if each is not None and each.until is not None]
        if epoch_s is not None and any(until <= epoch_s for until in ends):
            return ClockRead(epoch_s)
        self.schedule.update(state, power_mw(*self._supply(state)), epoch_s)
        is_waiting = self.schedule.is_holding(state, epoch_s)
        claim_ma = self._solar_claim(is_waiting, now) if has_sun else None
        if claim_ma != state.charge_limits.claim(LimitSource.SOLAR):
            return LimitClaimed(LimitSource.SOLAR, claim_ma, (Direction.CHARGE,))
        is_held = is_waiting and not (has_sun and self.solar.is_followed)
        if is_held is not state.is_held:
            return ChargingHeld(is_held)
        self._look_again_at = self._next_look(ends, utc_ms, epoch_s, now)
        return None

    def _supply(self, state: EvseState) -> tuple[int, int, int]:
        """Return voltage, current and phases that a target can count on."""
        without_sun = state.charge_limits.with_claim(LimitSource.SOLAR, None)
        ratings = self._ratings
        return ratings.nominal_voltage_mv, without_sun.current_ma, ratings.phases

    def _solar_claim(self, is_waiting: bool, now: float) -> Milliamps | None:
        if not self.solar.is_followed:
            return None
        schedule = self.schedule
        has_target = schedule.is_followed and schedule.next_charge.target_time is not None
        if has_target and not is_waiting:
            self.solar.rest()
            return None
        return self.solar.claim_ma(now)

    def _next_look(
        self,
        ends: list[EpochSeconds],
        utc_ms: int | None,
        epoch_s: EpochSeconds | None,
        now: float,
    ) -> float | None:
        planned = self.schedule.next_moment(epoch_s)
        moments = ends if planned is None else [*ends, planned]
        if utc_ms is None:
            is_needed = bool(moments or self.schedule.targets)
            return now + _CLOCK_UNKNOWN_RETRY_S if is_needed else None
        if not moments:
            return None
        wait_s = (utc_ms_from_epoch_s(min(moments)) - utc_ms) / 1000
        return now + min(max(wait_s, 0.0), _CLOCK_LONGEST_WAIT_S)
