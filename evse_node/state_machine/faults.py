"""Faults: what they are, how each of them ends (`FAULT_CLASSES`), and which one is shown.

Each opens the contactor at once. Several may be present at once; the newest is shown, so that
each new fault is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class FaultClass(Enum):
    """Ways in which a fault ends.

    RETRIED: after a wait, which grows with each repetition, until the waits are used up and the
    fault latches (`retries`). Unplugging ends it in any case. One that the hardware reports as
    lasting follows the hardware instead.
    WHILE_PRESENT: when the hardware or the monitor reports the end of its cause.
    LATCHED: by acknowledgement, once its cause is gone.
    """

    RETRIED = "retried"
    WHILE_PRESENT = "while present"
    LATCHED = "latched"


FAULT_CLASSES: Final[Mapping[FaultState, FaultClass]] = {
    FaultState.METER_FAILURE: FaultClass.WHILE_PRESENT,
    FaultState.OVER_VOLTAGE: FaultClass.WHILE_PRESENT,
    FaultState.UNDER_VOLTAGE: FaultClass.WHILE_PRESENT,
    FaultState.OVER_CURRENT: FaultClass.RETRIED,
    FaultState.CONTACT_WET_FAILURE: FaultClass.LATCHED,  # welded
    FaultState.CONTACT_DRY_FAILURE: FaultClass.RETRIED,
    FaultState.GROUND_FAULT: FaultClass.LATCHED,
    FaultState.POWER_LOSS: FaultClass.WHILE_PRESENT,
    FaultState.POWER_QUALITY: FaultClass.WHILE_PRESENT,
    FaultState.PILOT_SHORT_CIRCUIT: FaultClass.RETRIED,
    FaultState.EMERGENCY_STOP: FaultClass.LATCHED,
    FaultState.EV_DISCONNECTED: FaultClass.RETRIED,  # no plug's resistor under power
    FaultState.WRONG_POWER_SUPPLY: FaultClass.WHILE_PRESENT,
    FaultState.LIVE_NEUTRAL_SWAP: FaultClass.WHILE_PRESENT,
    FaultState.OVER_TEMPERATURE: FaultClass.WHILE_PRESENT,
    FaultState.OTHER: FaultClass.RETRIED,  # diode missing, state F, an order that failed
}

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
