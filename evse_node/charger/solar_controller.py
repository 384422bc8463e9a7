"""Charging from what the sun leaves over: a surplus of power becomes a limit of current.

Below 6 A a vehicle cannot charge at all. So that neither a cloud nor a kettle makes the
contactor chatter, charging begins after the surplus has been enough for a while, ends
after it has been too little for a while, and stays so for a while; meanwhile the 6 A come
from wherever they come.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct

from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.units import Milliamps, Millivolts, Milliwatts


class SolarSettings(Struct, frozen=True):
    """How slow to be, in seconds."""

    start_after_s: float = 60.0
    stop_after_s: float = 120.0
    minimum_on_s: float = 300.0
    minimum_off_s: float = 300.0


class SolarController:
    """One charger's follower. `is_followed`: its mode asks for it.

    `phases` is how many the vehicle uses; on one, 6 A need no more than a third of the sun.
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

    def report(
        self, surplus_mw: Milliwatts | None, now: float, valid_s: float | None = None
    ) -> None:
        """Take in the power that is left over for charging; None or below 0 is none.

        It holds for `valid_s` seconds, or until the next report.
        """
        self._surplus_mw = max(0, surplus_mw or 0)
        self._valid_until = inf if valid_s is None else now + valid_s

    def drop_expired(self, now: float) -> None:
        """Count on no report any longer than it holds."""
        if now >= self._valid_until:
            self._surplus_mw, self._valid_until = 0, inf

    def claim_ma(self, now: float) -> Milliamps:
        """Return the limit now: 0 is a pause, everything else at least 6 A."""
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
        """Begin anew the next time."""
        self._is_on, self._changed_at, self._opposite_since = False, -inf, None

    def next_deadline(self) -> float | None:
        """Return when `claim_ma` may be another without a report, or None."""
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
