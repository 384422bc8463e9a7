"""What is configured for a charger, and what others may see of it.

An observer is called after each turn with the snapshot, the notices of the turn in
their order, and the monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import tzinfo
from typing import TypeAlias

from evse_node.charger.solar import SolarSettings
from evse_node.charger.watch import WatchSettings
from evse_node.records import dataclass, replace
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.effects import Notice
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import Limit, LimitSource
from evse_node.state_machine.names import State, SupplyState
from evse_node.state_machine.session import MeterReading, Session
from evse_node.state_machine.state import (
    ContactorState,
    EvseSettings,
    EvseState,
    Permission,
    Vehicle,
)
from evse_node.state_machine.targets import NextCharge
from evse_node.units import Milliamps


@dataclass(frozen=True, slots=True)
class ChargerSettings:
    """What is configured. `features` are codes of the Energy EVSE cluster, None for all possible.

    `zone` is where charging targets count (None: the system's). `circuit_capacity_ma` is
    what the installation carries, `user_maximum_ma` the user's limit until one is written.
    `may_charge_when_new` allows charging without end until a controller says otherwise.
    `watch` and `solar` say where lines are drawn and how slowly the sun is followed.
    """

    evse: EvseSettings = field(default_factory=EvseSettings)
    features: frozenset[str] | None = None
    circuit_capacity_ma: Milliamps = Milliamps(32_000)
    user_maximum_ma: Milliamps = Milliamps(80_000)
    may_charge_when_new: bool = False
    zone: tzinfo | None = None
    watch: WatchSettings = field(default_factory=WatchSettings)
    solar: SolarSettings = field(default_factory=SolarSettings)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The charger as others may see it.

    `charging_until` and `discharging_until` are None without permission; their own
    `until` is None without end. `limit` names who limits the charge current.
    """

    state: State
    supply_state: SupplyState
    fault: FaultState
    faults: tuple[FaultState, ...]
    charging: Permission | None
    discharging: Permission | None
    circuit_capacity_ma: Milliamps
    minimum_charge_ma: Milliamps
    maximum_charge_ma: Milliamps
    maximum_discharge_ma: Milliamps
    user_maximum_charge_ma: Milliamps
    limit: Limit
    is_held: bool
    is_card_awaited: bool
    next_charge: NextCharge
    vehicle: Vehicle
    session: Session | None
    meter: MeterReading
    pilot: PilotState | None
    pilot_output: PilotOutput
    offered_ma: Milliamps
    contactor: ContactorState
    is_locked: bool
    is_test_mode: bool


def snapshot_of(state: EvseState, next_charge: NextCharge, *, is_test_mode: bool) -> Snapshot:
    """Return what others may see of a state and the plan that goes with it."""
    limits, outputs = state.charge_limits, state.outputs
    limit, claims = limits.lowest, limits.claims
    return Snapshot(
        state=state.state,
        supply_state=state.supply_state,
        fault=state.fault,
        faults=state.faults,
        charging=state.charging,
        discharging=state.discharging,
        circuit_capacity_ma=claims.get(LimitSource.CIRCUIT) or Milliamps(0),
        minimum_charge_ma=state.minimum_charge_ma,
        maximum_charge_ma=limit.current_ma,
        maximum_discharge_ma=state.discharge_limits.current_ma,
        user_maximum_charge_ma=claims.get(LimitSource.USER) or Milliamps(0),
        limit=limit,
        is_held=state.is_held,
        is_card_awaited=state.is_card_awaited,
        next_charge=next_charge,
        vehicle=state.vehicle,
        session=state.session,
        meter=state.meter,
        pilot=state.pilot,
        pilot_output=outputs.pilot,
        offered_ma=outputs.offered_ma,
        contactor=outputs.contactor,
        is_locked=outputs.is_locked,
        is_test_mode=is_test_mode,
    )


def is_other_than_by_meter(before: EvseState, state: EvseState) -> bool:
    """Return whether two states differ in more than the meter's totals."""
    if before.meter != state.meter:
        before = replace(before, meter=state.meter)
    return before != state


Observer: TypeAlias = Callable[[Snapshot, tuple[Notice, ...], float], None]
