"""A total that only counts up, from a controller that counts sessions and keeps whole ones."""

from __future__ import annotations

from typing import Final

from evse_node.units import MilliwattHours

_ROUNDING_MWH: Final = 1_000


class EnergyTotal:
    """Adds up finished sessions (watt-hours) and the one that runs (watt-seconds).

    When a session ends, the controller adds it to the total, rounded down, and goes on
    showing it until the next one begins. A session that a restart of the controller has cut
    off is lost to it, not to this total.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None
        self._is_in_total = False
        self._offset_mwh = 0
        self._highest_mwh = 0

    def update(self, session_ws: int, finished_wh: int, *, is_connected: bool) -> MilliwattHours:
        """Take in what the controller shows; return the total."""
        if self._before is None:
            self._is_in_total = not is_connected
        else:
            session_before, finished_before = self._before
            if session_ws < session_before:
                self._is_in_total = False
            elif finished_wh > finished_before:
                self._is_in_total = True
            elif session_ws > session_before:
                self._is_in_total = False
        self._before = (session_ws, finished_wh)
        total_mwh = finished_wh * 1_000 + self._offset_mwh
        if not self._is_in_total:
            total_mwh += session_ws * 10 // 36
        if total_mwh < self._highest_mwh - _ROUNDING_MWH:
            self._offset_mwh += self._highest_mwh - total_mwh
            total_mwh = self._highest_mwh
        self._highest_mwh = max(self._highest_mwh, total_mwh)
        return MilliwattHours(self._highest_mwh)
