"""Faults: their kinds, which of them end with unplugging, and which one is shown.

Several may be present at once; the newest is shown, so that each new fault is reported.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class FaultState(Enum):
    """Spec: Matter Application Clusters 1.3 "FaultStateEnum"."""

    NO_ERROR = "NoError"
    METER_FAILURE = "MeterFailure"
    OVER_VOLTAGE = "OverVoltage"
    UNDER_VOLTAGE = "UnderVoltage"
    OVER_CURRENT = "OverCurrent"
    CONTACT_WET_FAILURE = "ContactWetFailure"
    CONTACT_DRY_FAILURE = "ContactDryFailure"
    GROUND_FAULT = "GroundFault"
    POWER_LOSS = "PowerLoss"
    POWER_QUALITY = "PowerQuality"
    PILOT_SHORT_CIRCUIT = "PilotShortCircuit"
    EMERGENCY_STOP = "EmergencyStop"
    EV_DISCONNECTED = "EVDisconnected"
    WRONG_POWER_SUPPLY = "WrongPowerSupply"
    LIVE_NEUTRAL_SWAP = "LiveNeutralSwap"
    OVER_TEMPERATURE = "OverTemperature"
    OTHER = "Other"

    # Each member is a singleton; hashing by identity is faster.
    __hash__ = object.__hash__


ENDED_BY_UNPLUGGING: Final = frozenset(
    {
        FaultState.PILOT_SHORT_CIRCUIT,
        FaultState.EV_DISCONNECTED,
        FaultState.CONTACT_DRY_FAILURE,
        FaultState.OVER_CURRENT,
    }
)
"""Faults of one vehicle, cable or attempt: cleared when the pilot returns to state A."""


def raise_fault(faults: tuple[FaultState, ...], fault: FaultState) -> tuple[FaultState, ...]:
    """Add a fault as the newest. One that is already present keeps its place."""
    if fault is FaultState.NO_ERROR or fault in faults:
        return faults
    return (*faults, fault)


def clear_fault(faults: tuple[FaultState, ...], fault: FaultState | None) -> tuple[FaultState, ...]:
    """Remove one fault, or all of them with None."""
    if fault is None:
        return ()
    return tuple(present for present in faults if present is not fault)


def shown_fault(faults: tuple[FaultState, ...]) -> FaultState:
    """Return the fault to show: the newest, or NO_ERROR."""
    return faults[-1] if faults else FaultState.NO_ERROR
