"""Detection of overcurrent, judged by what was offered within the vehicle's reaction time.

IEC 61851-1 allows a vehicle 5 s to follow each change of the duty cycle, so after a series of
changes its current may lawfully lie above the present offer for longer than that.
"""

from __future__ import annotations

from collections import deque
from typing import Final

REACTION_S: Final = 5.0
"""Spec: IEC 61851-1:2017 Table A.6, sequence 6: change of the current"""


class OverCurrentDetector:
    """Detector for one charger.

    Overcurrent is a current above `tolerance_permille` of the highest offer of the reaction time,
    plus `tolerance_ma`, for `duration_s`.
    """

    def __init__(self, tolerance_permille: int, tolerance_ma: int, duration_s: float) -> None:
        self._tolerance_permille = tolerance_permille
        self._tolerance_ma = tolerance_ma
        self._duration_s = duration_s
        self._offers: deque[tuple[float, int]] = deque()
        self._since: float | None = None

    def update(self, offered_ma: int | None, current_ma: int, now: float) -> bool:
        """Return whether the current has been too high for too long; None is no offer."""
        if offered_ma is None:
            self._offers.clear()
            self._since = None
            return False
        offers = self._offers
        if not offers or offers[-1][1] != offered_ma:
            offers.append((now, offered_ma))
        while len(offers) > 1 and offers[1][0] <= now - REACTION_S:
            offers.popleft()
        highest_ma = max(offer for _, offer in offers)
        if current_ma <= highest_ma * self._tolerance_permille // 1000 + self._tolerance_ma:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < self._duration_s:
            return False
        self._since = None
        return True
