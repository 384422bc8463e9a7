"""The words of the Device Energy Management cluster, by their names in its definition.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from enum import Enum


class EsaState(Enum):
    """What the appliance does. Spec: Matter Application Clusters 1.3 "ESAStateEnum"."""

    OFFLINE = "Offline"
    ONLINE = "Online"
    FAULT = "Fault"
    POWER_ADJUST_ACTIVE = "PowerAdjustActive"
    PAUSED = "Paused"


class AdjustmentCause(Enum):
    """Who asks. Spec: Matter Application Clusters 1.3 "AdjustmentCauseEnum"."""

    LOCAL = "LocalOptimization"
    GRID = "GridOptimization"


class UpdateReason(Enum):
    """Why the forecast is as it is. Spec: Matter Application Clusters 1.3 "ForecastStruct"."""

    INTERNAL = "InternalOptimization"
    LOCAL = "LocalOptimization"
    GRID = "GridOptimization"


class PowerAdjustReason(Enum):
    """Spec: Matter Application Clusters 1.3 "PowerAdjustReasonEnum"."""

    NONE = "NoAdjustment"
    LOCAL = "LocalOptimizationAdjustment"
    GRID = "GridOptimizationAdjustment"


class EndCause(Enum):
    """Why an adjustment or a pause is over. Spec: Matter Application Clusters 1.3 "CauseEnum"."""

    NORMAL_COMPLETION = "NormalCompletion"
    OFFLINE = "Offline"
    FAULT = "Fault"
    USER_OPT_OUT = "UserOptOut"
    CANCELLED = "Cancelled"
