"""Enumerations of the Device Energy Management cluster; values are names of its definition.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from enum import Enum


class EsaState(Enum):
    """State of the appliance. Spec: Matter Application Clusters 1.3 "ESAStateEnum"."""

    OFFLINE = "Offline"
    ONLINE = "Online"
    FAULT = "Fault"
    POWER_ADJUST_ACTIVE = "PowerAdjustActive"
    PAUSED = "Paused"


class AdjustmentCause(Enum):
    """Origin of a request. Spec: Matter Application Clusters 1.3 "AdjustmentCauseEnum"."""

    LOCAL = "LocalOptimization"
    GRID = "GridOptimization"


class UpdateReason(Enum):
    """Reason of a forecast update. Spec: Matter Application Clusters 1.3 "ForecastStruct"."""

    INTERNAL = "InternalOptimization"
    LOCAL = "LocalOptimization"
    GRID = "GridOptimization"


class PowerAdjustReason(Enum):
    """Spec: Matter Application Clusters 1.3 "PowerAdjustReasonEnum"."""

    NONE = "NoAdjustment"
    LOCAL = "LocalOptimizationAdjustment"
    GRID = "GridOptimizationAdjustment"


class EndCause(Enum):
    """Reason of the end of an adjustment. Spec: Matter Application Clusters 1.3 "CauseEnum"."""

    NORMAL_COMPLETION = "NormalCompletion"
    OFFLINE = "Offline"
    FAULT = "Fault"
    USER_OPT_OUT = "UserOptOut"
    CANCELLED = "Cancelled"
