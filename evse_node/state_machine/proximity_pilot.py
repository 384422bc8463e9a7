"""The proximity pilot: a resistor in the plug tells what the cable can carry.

Spec: IEC 61851-1:2017 Table B.2
"""

from __future__ import annotations

from typing import Final

from evse_node.units import Milliamps, Ohms

LOWEST_OHM: Final = 60
HIGHEST_OHM: Final = 4_500

# Up to how many ohms a plug stands for how many milliamps. Between two of the norm's bands
# (80 to 140, 164 to 308, 400 to 936, 1100 to 2460 ohms) the lower ampacity holds.
_AMPACITIES: Final = ((140, 63_000), (308, 32_000), (936, 20_000), (HIGHEST_OHM, 13_000))
_SINGLE_PHASE_MA: Final = {63_000: 70_000}


def ampacity(resistance_ohm: Ohms, *, single_phase: bool = False) -> Milliamps | None:
    """Return the current that the cable may carry, or None when no known plug is there.

    Below 60 and above 4500 ohms it is no cable.
    Spec: IEC 61851-1:2017 Table B.2
    """
    if resistance_ohm < LOWEST_OHM:
        return None
    for high_ohm, ampacity_ma in _AMPACITIES:
        if resistance_ohm <= high_ohm:
            more_ma = _SINGLE_PHASE_MA.get(ampacity_ma, ampacity_ma)
            return Milliamps(more_ma if single_phase else ampacity_ma)
    return None
