"""Solar charging: a power surplus becomes a limit of the charge current.

A vehicle cannot charge below 6 A, nor below the minimum of EnableCharging. Start and stop
therefore have a delay and a minimum duration, so that neither a cloud nor a kettle makes the
contactor chatter; meanwhile the grid supplies what the surplus does not.

The delays count up while the surplus calls for a change, and down while it does not, so that a
short dip neither prevents a start nor a short gleam a stop.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct

from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.units import Milliamps, Millivolts, Milliwatts


class SolarSettings(Struct, frozen=True):
    """Delays and minimum durations in seconds.

    `meter_delay_s` is the longest delay of the grid meter (10 s) and of sampling. `report_valid_s`
    is the validity of a surplus reported without one.
    """

    start_after_s: float = 60.0
    stop_after_s: float = 120.0
    minimum_on_s: float = 300.0
    minimum_off_s: float = 300.0
    meter_delay_s: float = 12.0
    report_valid_s: float = 60.0


class SolarController:
    """Solar controller of one charger. `is_enabled`: the charge mode uses it.

    `phases` is the number that the vehicle uses; on one, 6 A require a third of the surplus.
    `minimum_ma` is the lowest current that may be offered; below it charging pauses.
    """

    def __init__(self, settings: SolarSettings, voltage_mv: Millivolts, phases: int) -> None:
        self.is_enabled = False
        self.phases = phases
        self.minimum_ma: int = MINIMUM_OFFER_MA
        self.settings = settings
        self._voltage_mv = voltage_mv
        self._surplus_mw = 0
        self._valid_until = inf
        self._is_on = False
        self._changed_at = -inf
        self._opposite_s = 0.0
        self._counted_at: float | None = None

    def set_surplus(
        self, surplus_mw: Milliwatts | None, now: float, valid_s: float | None = None
    ) -> None:
        """Set the power available for charging; None or below 0 is none.

        It is valid for `valid_s` seconds, or until the next call.
        """
        self.drop_expired(now)
        self._count(now)
        self._surplus_mw = max(0, surplus_mw or 0)
        self._valid_until = inf if valid_s is None else now + valid_s

    def drop_expired(self, now: float) -> None:
        """Drop a surplus that has expired."""
        if now >= self._valid_until:
            self._count(self._valid_until)
            self._surplus_mw, self._valid_until = 0, inf

    def claim_ma(self, now: float) -> Milliamps:
        """Return the present limit: 0 for a pause, else at least the minimum."""
        self.drop_expired(now)
        if self._counted_at is None:
            self._counted_at = now
        self._count(now)
        if self._is_opposite and now >= self._change_at(now):
            self._is_on = not self._is_on
            self._changed_at, self._opposite_s = now, 0.0
        if not self._is_on:
            return Milliamps(0)
        return Milliamps(max(self.minimum_ma, self._surplus_ma))

    def reset(self) -> None:
        """Reset to off, without a minimum duration."""
        self._is_on, self._changed_at = False, -inf
        self.suspend()

    def suspend(self) -> None:
        """Stop counting delays until `claim_ma` is called again."""
        self._opposite_s, self._counted_at = 0.0, None

    def next_deadline(self) -> float | None:
        """Return when `claim_ma` may change without a new surplus, or None."""
        moments = [self._valid_until]
        if self._counted_at is not None and self._is_opposite:
            moments.append(self._change_at(self._counted_at))
        earliest = min(moments)
        return None if earliest == inf else earliest

    @property
    def _surplus_ma(self) -> int:
        return self._surplus_mw * 1000 // (self._voltage_mv * self.phases)

    @property
    def _is_opposite(self) -> bool:
        """Whether the surplus calls for a change between charging and pausing."""
        return (self._surplus_ma >= self.minimum_ma) is not self._is_on

    @property
    def _delay_s(self) -> float:
        return self.settings.stop_after_s if self._is_on else self.settings.start_after_s

    def _count(self, now: float) -> None:
        """Count the time since the last call for or against a change."""
        if self._counted_at is None or now <= self._counted_at:
            return
        elapsed_s, self._counted_at = now - self._counted_at, now
        if self._is_opposite:
            self._opposite_s = min(self._delay_s, self._opposite_s + elapsed_s)
        else:
            self._opposite_s = max(0.0, self._opposite_s - elapsed_s)

    def _change_at(self, now: float) -> float:
        settings = self.settings
        minimum_s = settings.minimum_on_s if self._is_on else settings.minimum_off_s
        return max(now + self._delay_s - self._opposite_s, self._changed_at + minimum_s)
