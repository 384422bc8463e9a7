"""Enumerations of the Energy EVSE cluster.

The values are the names in the cluster's definition, by which the bridge finds the numbers.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Spec: Matter Application Clusters 1.3 "StateEnum"."""

    NOT_PLUGGED_IN = "NotPluggedIn"
    PLUGGED_IN_NO_DEMAND = "PluggedInNoDemand"
    PLUGGED_IN_DEMAND = "PluggedInDemand"
    PLUGGED_IN_CHARGING = "PluggedInCharging"
    PLUGGED_IN_DISCHARGING = "PluggedInDischarging"
    SESSION_ENDING = "SessionEnding"
    FAULT = "Fault"

    __hash__ = object.__hash__  # see `limits.LimitSource`

    def __init__(self, name: str) -> None:
        self.is_transferring = name in ("PluggedInCharging", "PluggedInDischarging")
        """True while energy may flow."""


class SupplyState(Enum):
    """Spec: Matter Application Clusters 1.3 "SupplyStateEnum"."""

    DISABLED = "Disabled"
    CHARGING_ENABLED = "ChargingEnabled"
    DISCHARGING_ENABLED = "DischargingEnabled"
    DISABLED_ERROR = "DisabledError"
    DISABLED_DIAGNOSTICS = "DisabledDiagnostics"
    ENABLED = "Enabled"  # revision 3 only

    __hash__ = object.__hash__  # see `limits.LimitSource`


class StoppedReason(Enum):
    """Spec: Matter Application Clusters 1.3 "EnergyTransferStoppedReasonEnum"."""

    EV_STOPPED = "EVStopped"
    EVSE_STOPPED = "EVSEStopped"
    OTHER = "Other"
