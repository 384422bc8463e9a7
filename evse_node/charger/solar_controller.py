"""Solar charging: a power surplus becomes a limit of the charge current.

A vehicle cannot charge below 6 A. Start and stop therefore have a delay and a minimum duration,
so that neither a cloud nor a kettle makes the contactor chatter; meanwhile the grid supplies what
the surplus does not.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct

from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.units import Milliamps, Millivolts, Milliwatts


class SolarSettings(Struct, frozen=True):
    """Delays and minimum durations in seconds."""

    start_after_s: float = 60.0
    stop_after_s: float = 120.0
    minimum_on_s: float = 300.0
    minimum_off_s: float = 300.0


class SolarController:
    """Solar controller of one charger. `is_followed`: the charge mode uses it.

    `phases` is the number that the vehicle uses; on one, 6 A require a third of the surplus.
    """

    def __init__(self, settings: SolarSettings, voltage_mv: Millivolts, phases: int) -> None:
        self.is_enabled = False
        self.phases = phases
        self._settings = settings
        self._voltage_mv = voltage_mv
        self._surplus_mw = 0
        self._valid_until = inf
        self._is_on = False
        self._changed_at = -inf
        self._opposite_since: float | None = None

    def set_surplus(
        self, surplus_mw: Milliwatts | None, now: float, valid_s: float | None = None
    ) -> None:
        """Set the power available for charging; None or below 0 is none.

        It is valid for `valid_s` seconds, or until the next call.
        """
        self._surplus_mw = max(0, surplus_mw or 0)
        self._valid_until = inf if valid_s is None else now + valid_s

    def drop_expired(self, now: float) -> None:
        """Drop a surplus that has expired."""
        if now >= self._valid_until:
            self._surplus_mw, self._valid_until = 0, inf

    def claim_ma(self, now: float) -> Milliamps:
        """Return the present limit: 0 for a pause, else at least 6 A."""
        self.drop_expired(now)
        surplus_ma = self._surplus_mw * 1000 // (self._voltage_mv * self.phases)
        if (surplus_ma >= MINIMUM_OFFER_MA) is self._is_on:
            self._opposite_since = None
        else:
            if self._opposite_since is None:
                self._opposite_since = now
            if now >= self._change_at(self._opposite_since):
                self._is_on = not self._is_on
                self._changed_at, self._opposite_since = now, None
        if not self._is_on:
            return Milliamps(0)
        return Milliamps(max(MINIMUM_OFFER_MA, surplus_ma))

    def reset(self) -> None:
        """Reset to off, without a minimum duration."""
        self._is_on, self._changed_at, self._opposite_since = False, -inf, None

    def next_deadline(self) -> float | None:
        """Return when `claim_ma` may change without a new surplus, or None."""
        moments = [self._valid_until]
        if self._opposite_since is not None:
            moments.append(self._change_at(self._opposite_since))
        earliest = min(moments)
        return None if earliest == inf else earliest

    def _change_at(self, since: float) -> float:
        settings = self._settings
        if self._is_on:
            return max(since + settings.stop_after_s, self._changed_at + settings.minimum_on_s)
        return max(since + settings.start_after_s, self._changed_at + settings.minimum_off_s)
