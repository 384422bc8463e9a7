"""Control pilot: the vehicle's state as a voltage, the charger's offer as a duty cycle.

Spec: IEC 61851-1:2017 Annex A
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from evse_node.units import Milliamps


class PilotState(Enum):
    """Vehicle state on the pilot: A2, B2, C2 with PWM, A1, B1, C1 without.

    Spec: IEC 61851-1:2017 Table A.4
    """

    A = "A"  # no vehicle
    B = "B"  # vehicle connected, not ready
    C = "C"  # vehicle ready
    D = "D"  # vehicle ready, ventilation required
    E = "E"  # no pilot: short circuit, no power
    F = "F"  # charger not available

    __hash__ = object.__hash__  # see `limits.LimitSource`

    def __init__(self, letter: str) -> None:
        self.is_connected = letter in "BCD"
        """True while a vehicle is connected."""
        self.is_ready = letter in "CD"
        """True while the vehicle requests energy."""


class PilotOutput(Enum):
    """Signal of the charger on the pilot."""

    X1 = "X1"  # constant +12 V: no energy offered
    X2 = "X2"  # PWM: energy offered, the current as duty cycle
    F = "F"  # constant -12 V: not available


class VoltageBand(NamedTuple):
    """Half-open range of the pilot's positive level, in millivolts."""

    low_mv: int
    high_mv: int
    state: PilotState


# Boundaries lie halfway between nominal levels (12, 9, 6, 3, 0, -12 V), so that every voltage
# has exactly one meaning. A board with calibrated thresholds may classify by itself.
VOLTAGE_BANDS: Final = (
    VoltageBand(10_500, 15_000, PilotState.A),
    VoltageBand(7_500, 10_500, PilotState.B),
    VoltageBand(4_500, 7_500, PilotState.C),
    VoltageBand(1_500, 4_500, PilotState.D),
    VoltageBand(-6_000, 1_500, PilotState.E),
    VoltageBand(-15_000, -6_000, PilotState.F),
)

NOMINAL_MV: Final = {
    PilotState.A: 12_000,
    PilotState.B: 9_000,
    PilotState.C: 6_000,
    PilotState.D: 3_000,
    PilotState.E: 0,
    PilotState.F: -12_000,
}

DIODE_LIMIT_MV: Final = -6_000
"""Upper limit of the low level during PWM for a vehicle with its diode."""


def pilot_state(high_mv: int) -> PilotState:
    """Classify the pilot's positive level. Outside every band it is E, the safe answer.

    Spec: IEC 61851-1:2017 Table A.4
    """
    for band in VOLTAGE_BANDS:
        if band.low_mv <= high_mv < band.high_mv:
            return band.state
    return PilotState.E


def is_diode_present(low_mv: int) -> bool:
    """Return whether the negative level during PWM shows a diode: a vehicle, not a resistor.

    Spec: IEC 61851-1:2017 Table A.4
    """
    return low_mv < DIODE_LIMIT_MV


MINIMUM_OFFER_MA: Final = Milliamps(6_000)
MAXIMUM_OFFER_MA: Final = Milliamps(80_000)
_LINEAR_END_MA: Final = 51_000
_STEEP_START_MA: Final = 52_500


def offer_ma(limit_ma: int) -> Milliamps | None:
    """Return the largest current with a duty cycle within the limit; None under 6 A.

    No duty cycle stands for a current between 51 and 52.5 A, so 51 A is offered.
    Spec: IEC 61851-1:2017 Table A.7
    """
    if limit_ma < MINIMUM_OFFER_MA:
        return None
    if _LINEAR_END_MA < limit_ma < _STEEP_START_MA:
        return Milliamps(_LINEAR_END_MA)
    return Milliamps(min(limit_ma, MAXIMUM_OFFER_MA))


def duty_permille(current_ma: int) -> int:
    """Return the duty cycle in tenths of a percent for a current of 6 to 80 A, rounded down.

    Raises ValueError for a current without a duty cycle.
    Spec: IEC 61851-1:2017 Table A.7
    """
    if current_ma != offer_ma(current_ma):
        raise ValueError(f"{current_ma} mA has no duty cycle")
    if current_ma <= _LINEAR_END_MA:
        return current_ma // 60  # D % = I / 0.6
    return current_ma // 250 + 640  # D % = I / 2.5 + 64
