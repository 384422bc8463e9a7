"""The proximity pilot: a resistor in the plug tells what the cable can carry.

Spec: IEC 61851-1:2017 Table B.2
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

from evse_node.units import Milliamps, Ohms


class ResistorBand(NamedTuple):
    """A closed range of resistance and what it stands for."""

    low_ohm: int
    high_ohm: int
    ampacity_ma: int


# In order of rising ampacity, because between two bands the lower ampacity holds.
RESISTOR_BANDS: Final = (
    ResistorBand(1_100, 2_460, 13_000),
    ResistorBand(400, 936, 20_000),
    ResistorBand(164, 308, 32_000),
    ResistorBand(80, 140, 63_000),
)
LOWEST_OHM: Final = 60
HIGHEST_OHM: Final = 4_500


def ampacity(resistance_ohm: Ohms, *, single_phase: bool = False) -> Milliamps | None:
    """Return the current that the cable may carry, or None when no known plug is there.

    Between two bands the lower ampacity holds. Below 60 and above 4500 ohms it is no cable.
    Spec: IEC 61851-1:2017 Table B.2
    """
    if not LOWEST_OHM <= resistance_ohm <= HIGHEST_OHM:
        return None
    for band, stronger in pairwise(RESISTOR_BANDS):
        if resistance_ohm > stronger.high_ohm:
            return Milliamps(band.ampacity_ma)
    return Milliamps(70_000 if single_phase else RESISTOR_BANDS[-1].ampacity_ma)
