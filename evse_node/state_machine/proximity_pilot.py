"""Proximity pilot: the resistor in the plug encodes the cable's ampacity.

Spec: IEC 61851-1:2017 Table B.2
"""

from __future__ import annotations

from typing import Final

from evse_node.units import Milliamps, Ohms

LOWEST_OHM: Final = 60
HIGHEST_OHM: Final = 4_500

# Upper limit in ohms and ampacity in milliamps. Between two bands of the standard (80 to 140,
# 164 to 308, 400 to 936, 1100 to 2460 ohms) the lower ampacity holds.
_AMPACITIES: Final = ((140, 63_000), (308, 32_000), (936, 20_000), (HIGHEST_OHM, 13_000))
_SINGLE_PHASE_MA: Final = {63_000: 70_000}


def ampacity(resistance_ohm: Ohms, *, single_phase: bool = False) -> Milliamps | None:
    """Return the cable's ampacity, or None without a cable (below 60 or above 4500 ohms).

    Spec: IEC 61851-1:2017 Table B.2
    """
    if resistance_ohm < LOWEST_OHM:
        return None
    for high_ohm, ampacity_ma in _AMPACITIES:
        if resistance_ohm <= high_ohm:
            single_phase_ma = _SINGLE_PHASE_MA.get(ampacity_ma, ampacity_ma)
            return Milliamps(single_phase_ma if single_phase else ampacity_ma)
    return None
