"""Records of the charger in the store, as JSON. Their members are a storage format."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from evse_node.charger.vehicle_draw import VehicleDraw
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import Permission
from evse_node.state_machine.targets import ChargingTargetSchedule
from evse_node.units import INT64, UINT32, UINT63, Milliamps, MilliwattHours

# Values outside these ranges were never written; calculations would not survive them.
_Int64 = Annotated[int, INT64]
_Uint32 = Annotated[int, UINT32]
_Current = Annotated[Milliamps, UINT63]
_Energy = Annotated[MilliwattHours, Meta(ge=-(1 << 53), lt=1 << 53)]
_Percent = Annotated[int, Meta(ge=0, lt=256)]


class StoredPermissions(Struct, frozen=True):
    """Enabled directions with their end, and the currents of the commands."""

    charging: Permission | None
    discharging: Permission | None
    minimum_ma: _Current
    charge_ma: _Current
    discharge_ma: _Current
    is_authorized: bool = False


class StoredFaults(Struct, frozen=True, omit_defaults=True):
    """Present faults, the oldest first; those that are retried, and the retries so far."""

    faults: tuple[FaultState, ...]
    retried: tuple[FaultState, ...] = ()
    retry_count: Annotated[int, Meta(ge=0)] = 0


class StoredUserLimit(Struct, frozen=True):
    """UserMaximumChargeCurrent; None when no limit was written."""

    current_ma: _Current | None


class StoredSession(Struct, frozen=True):
    """The running or last session, with its values and the battery's at the time of writing.

    `imported_mwh` and `exported_mwh` are the meter's totals at the start of the session.
    """

    id: _Uint32
    is_active: bool
    started_utc_ms: _Int64 | None
    duration_s: _Uint32
    imported_mwh: _Energy
    exported_mwh: _Energy
    charged_mwh: _Energy
    discharged_mwh: _Energy
    soc_percent: _Percent | None = None
    capacity_mwh: _Energy | None = None


class StoredMeter(Struct, frozen=True):
    """Offset that continues the totals of a former meter."""

    imported_mwh: _Energy
    exported_mwh: _Energy


class StoredTargets(Struct, frozen=True):
    """Charging targets of the week."""

    schedules: tuple[ChargingTargetSchedule, ...]


class StoredDraw(Struct, frozen=True):
    """The draw of one earlier session's vehicle."""

    session: _Int64
    phases: Annotated[int, Meta(ge=1)]
    current_ma: _Current
    is_own_limit: bool


class StoredDraws(Struct, frozen=True):
    """What was learned of the vehicles' draw.

    Early versions stored one `usual` vehicle, without its session, in place of the recent ones.
    """

    session: _Int64
    present: VehicleDraw | None
    recent: tuple[StoredDraw, ...] = ()
    usual: VehicleDraw | UnsetType | None = UNSET
