"""Why the charger refuses: causes, how long each one holds, and which one is shown.

A fault is raised and cleared by whoever watches the hardware. Several may be present
at once; the one that is shown is the one raised last, so that each new cause is seen.
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

    # There is one object of each, and they are looked up all the time.
    __hash__ = object.__hash__


ENDED_BY_UNPLUGGING: Final = frozenset(
    {
        FaultState.PILOT_SHORT_CIRCUIT,
        FaultState.EV_DISCONNECTED,
        FaultState.CONTACT_DRY_FAILURE,
        FaultState.OVER_CURRENT,
    }
)
"""Causes that belong to one vehicle, cable or attempt: gone when the pilot shows state A again."""


def raise_fault(faults: tuple[FaultState, ...], fault: FaultState) -> tuple[FaultState, ...]:
    """Add a cause as the newest. One that is present already keeps its place."""
    if fault is FaultState.NO_ERROR or fault in faults:
        return faults
    return (*faults, fault)


def clear_fault(faults: tuple[FaultState, ...], fault: FaultState | None) -> tuple[FaultState, ...]:
    """Remove one cause, or all of them with None."""
    if fault is None:
        return ()
    return tuple(present for present in faults if present is not fault)


def shown_fault(faults: tuple[FaultState, ...]) -> FaultState:
    """Return the cause that is shown: the newest, or NO_ERROR."""
    return faults[-1] if faults else FaultState.NO_ERROR
