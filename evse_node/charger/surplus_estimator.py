"""Solar surplus from a grid meter whose readings are old by an unknown delay.

The surplus is the charger's own power at the moment of the grid reading, less that reading. The
moment is unknown: it lies within the longest delay. So the surplus lies between the lowest and
the highest own power of that time, less the reading. The estimate moves only as far as this
interval requires: while the vehicle follows a new offer, the interval contains the old estimate,
and the charger does not react to its own change. With a constant surplus no step increases the
error, so the estimate cannot oscillate, however long the delay (up to the longest), the reaction
time and the ramp of the vehicle.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_BUCKET_S: Final = 1.0
_MOVED_MW: Final = 500_000
"""Change of the own power that a grid meter must show."""


class SurplusEstimator:
    """Estimator for one charger. `delay_s`: longest delay of the grid meter's readings."""

    def __init__(self, delay_s: float) -> None:
        self.is_frozen = False
        self._delay_s = delay_s
        self._own: deque[tuple[float, int, int]] = deque()
        self._grid_mw: int | None = None
        self._own_at_change = (0, 0)
        self._surplus_mw = 0
        self._estimated_at: float | None = None

    def observe_own(self, power_mw: int, now: float) -> None:
        """Record the power of the charger."""
        own = self._own
        if own and now - own[-1][0] < _BUCKET_S:
            since, lowest, highest = own.pop()
            own.append((since, min(lowest, power_mw), max(highest, power_mw)))
        else:
            own.append((now, power_mw, power_mw))
        while len(own) > 1 and own[1][0] <= now - self._delay_s:
            own.popleft()

    def estimate(self, grid_mw: int, now: float) -> int | None:
        """Return the surplus for a reading of the grid meter (import is positive).

        None: unknown, because the own power was never recorded, or because the reading is frozen:
        it did not move although the own power did.
        """
        if not self._own:
            return None
        lowest = min(low for _, low, _ in self._own)
        highest = max(high for _, _, high in self._own)
        if grid_mw != self._grid_mw:
            self._grid_mw, self._own_at_change, self.is_frozen = grid_mw, (lowest, highest), False
        else:
            low_before, high_before = self._own_at_change
            if lowest > high_before + _MOVED_MW or highest < low_before - _MOVED_MW:
                self.is_frozen = True
        if self.is_frozen:
            return None
        before = self._estimated_at
        if before is None or now - before > self._delay_s:
            self._surplus_mw = lowest - grid_mw
        self._surplus_mw = min(max(self._surplus_mw, lowest - grid_mw), highest - grid_mw)
        self._estimated_at = now
        return self._surplus_mw
