"""Planning of charging: permissions that expire, charging targets and solar surplus.

In a mode with both targets and solar surplus, the surplus charges until the planned start for the
target; from then on the target takes precedence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from evse_node.charger.grid_surplus import GridSurplus
from evse_node.charger.persistence import ChargerPersistence
from evse_node.charger.schedule import Schedule
from evse_node.charger.snapshot import ChargerSettings
from evse_node.charger.solar_controller import SolarController
from evse_node.charger.vehicle_draw import DrawEstimator, LearnedDraws
from evse_node.hal.interface import EvseBackend, MeterValues
from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.state_machine.events import (
    ChargingHeld,
    ClockRead,
    Direction,
    Event,
    LimitClaimed,
)
from evse_node.state_machine.limits import Limits, LimitSource
from evse_node.state_machine.state import EvseState
from evse_node.units import (
    EpochSeconds,
    Milliamps,
    Milliwatts,
    epoch_s_from_utc_ms,
    power_mw,
    utc_ms_from_epoch_s,
)

_CLOCK_UNKNOWN_RETRY_S: Final = 30.0
"""Interval of checks for the wall clock while a plan waits for it."""
_CLOCK_LONGEST_WAIT_S: Final = 60.0
"""Longest wait for a planned time, because the wall clock may be set meanwhile."""
_CLOCK_PATIENCE_S: Final = 600.0
"""After a restart without wall clock, a vehicle that was held back stays so for this long."""

_CachedPower: TypeAlias = tuple[Limits, LearnedDraws, int | None, tuple[Milliwatts, bool]]


class ChargePlanner:
    """Schedule, solar controller and draw estimator of one charger.

    `draw_delay_s` returns a random delay for the start for a target.
    """

    def __init__(
        self,
        backend: EvseBackend,
        persistence: ChargerPersistence,
        settings: ChargerSettings,
        *,
        has_soc: bool,
        utc_ms: Callable[[], int | None],
        draw_delay_s: Callable[[], int],
    ) -> None:
        ratings = self._ratings = backend.ratings
        self._has_meter = backend.meter is not None
        self._may_be_new = not settings.are_vehicles_known
        self.schedule = Schedule(
            persistence.load_targets(),
            has_soc=has_soc,
            zone=settings.zone,
            draw_delay_s=draw_delay_s,
            commitment=persistence.load_commitment(),
        )
        self.solar = SolarController(settings.solar, ratings.nominal_voltage_mv, ratings.phases)
        self.draw_estimator = DrawEstimator(persistence.load_draws())
        grid_meter = backend.grid_meter
        self._grid = None if grid_meter is None else GridSurplus(grid_meter, self.solar)
        self._persistence = persistence
        self._utc_ms = utc_ms
        self._cached_power: _CachedPower | None = None
        self._is_solar_allowed = True
        self._next_check_at: float | None = None
        self._waits_for_clock_until: float | None = None

    def next_deadline(self) -> float | None:
        """Return when to call `next_event` again (monotonic seconds), or None."""
        moments = [self._next_check_at]
        if self.solar.is_enabled and self._is_solar_allowed:
            moments.append(self.solar.next_deadline())
            if self._grid is not None:
                moments.append(self._grid.next_deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def is_idle(self, state: EvseState) -> bool:
        """Return whether nothing expires, is planned, or remains of a plan."""
        charging, discharging = state.charging, state.discharging
        return (
            (charging is None or charging.until is None)
            and (discharging is None or discharging.until is None)
            and not state.is_held
            and LimitSource.SOLAR not in state.charge_limits.claims
            and not (self.schedule.is_enabled or self.schedule.targets)
            and not self.solar.is_enabled
            and self.next_deadline() is None
        )

    def observe(self, state: EvseState, values: MeterValues | None, now: float) -> None:
        """Process the readings of the charger's meter and of the grid meter."""
        self.draw_estimator.observe(state, values, now)
        if self._grid is not None:
            self._grid.poll(values, now)

    def save(self) -> None:
        """Store what must survive a restart."""
        self._persistence.save_plan(self.schedule.commitment, self.draw_estimator.learned)

    def next_event(
        self, state: EvseState, now: float, *, is_solar_allowed: bool = True
    ) -> Event | None:
        """Return the next event for the machine; None when it is up to date.

        Without `is_solar_allowed`, charging does not follow the surplus for now.
        """
        self._is_solar_allowed = is_solar_allowed
        utc_ms = self._utc_ms()
        epoch_s = None if utc_ms is None else epoch_s_from_utc_ms(utc_ms)
        permissions = (state.charging, state.discharging)
        ends = [each.until for each in permissions if each is not None and each.until is not None]
        if epoch_s is not None and any(until <= epoch_s for until in ends):
            return ClockRead(epoch_s)
        power_mw, is_seen = self.guaranteed_power(state)
        self.schedule.update(state, power_mw, epoch_s, is_power_seen=is_seen)
        is_waiting = self.schedule.is_holding(state, epoch_s)
        if self._waits_for_clock_until is None:
            self._waits_for_clock_until = now + _CLOCK_PATIENCE_S
        if epoch_s is None and now < self._waits_for_clock_until:
            is_waiting = self.schedule.was_waiting(state)
        claim_ma = None
        if is_solar_allowed and self.solar.is_enabled:
            self.solar.minimum_ma = max(MINIMUM_OFFER_MA, state.minimum_charge_ma)
            claim_ma = self._solar_claim(is_waiting, now)
        else:
            self.solar.suspend()
        if claim_ma != state.charge_limits.claim(LimitSource.SOLAR):
            return LimitClaimed(LimitSource.SOLAR, claim_ma, (Direction.CHARGE,))
        # The surplus charges ahead of the plan, but not beyond the target.
        is_by_sun = (
            is_solar_allowed and self.solar.is_enabled and not self.schedule.is_charged_enough
        )
        is_held = is_waiting and not is_by_sun
        if is_held is not state.is_held:
            return ChargingHeld(is_held)
        self._next_check_at = self._next_check(ends, utc_ms, epoch_s, now)
        return None

    def guaranteed_power(self, state: EvseState) -> tuple[Milliwatts, bool]:
        """Return the power that a plan can rely on, and whether the vehicle has drawn it."""
        limits, learned = state.charge_limits, self.draw_estimator.learned
        session_id = None if state.session is None else state.session.id
        kept = self._cached_power
        if kept is None or kept[0] is not limits or kept[1] is not learned or kept[2] != session_id:
            power = self._compute_power(limits, learned, session_id)
            kept = self._cached_power = (limits, learned, session_id, power)
        return kept[3]

    def _compute_power(
        self, limits: Limits, learned: LearnedDraws, session_id: int | None
    ) -> tuple[Milliwatts, bool]:
        """Compute `guaranteed_power`.

        Limits by solar surplus and energy management are temporary and do not count. Without a
        meter, the draw is unknown and the whole offer counts.
        """
        current_ma = limits.current_without(LimitSource.SOLAR, LimitSource.GRID)
        voltage_mv, phases = self._ratings.nominal_voltage_mv, self._ratings.phases
        if not self._has_meter:
            return power_mw(voltage_mv, current_ma, phases), True
        least_mw = min(
            power_mw(voltage_mv, each.minimum_ma(current_ma), min(each.phases, phases))
            for each in learned.candidates(session_id, may_be_new=self._may_be_new)
        )
        present = learned.present if learned.session_id == session_id else None
        return least_mw, present is not None and present.is_known_at(current_ma)

    @property
    def _phases(self) -> int:
        """Phases that the surplus must supply: the vehicle's, or the most of recent vehicles."""
        learned, phases = self.draw_estimator.learned, self._ratings.phases
        if learned.present is not None:
            return min(learned.present.phases, phases)
        return min(max((each.phases for _, each in learned.recent), default=phases), phases)

    def _solar_claim(self, is_waiting: bool, now: float) -> Milliamps | None:
        self.solar.drop_expired(now)
        schedule = self.schedule
        has_target = schedule.is_enabled and schedule.next_charge.target_time is not None
        if has_target and not is_waiting:
            self.solar.reset()
            return None
        self.solar.phases = self._phases
        return self.solar.claim_ma(now)

    def _next_check(
        self,
        ends: list[EpochSeconds],
        utc_ms: int | None,
        epoch_s: EpochSeconds | None,
        now: float,
    ) -> float | None:
        planned = self.schedule.next_check(epoch_s)
        moments = ends if planned is None else [*ends, planned]
        if utc_ms is None:
            is_needed = bool(moments or self.schedule.targets)
            return now + _CLOCK_UNKNOWN_RETRY_S if is_needed else None
        if not moments:
            return None
        wait_s = (utc_ms_from_epoch_s(min(moments)) - utc_ms) / 1000
        return now + min(max(wait_s, 0.0), _CLOCK_LONGEST_WAIT_S)
