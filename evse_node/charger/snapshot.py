"""What is configured for a charger, and what others may see of it.

An observer is called after each turn with the snapshot, the notifications of the turn in
their order, and the monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from operator import attrgetter
from typing import Final, TypeAlias

from msgspec import Struct, field

from evse_node.charger.hardware_monitor import MonitorSettings
from evse_node.charger.solar_controller import SolarSettings
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.effects import Notification
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import Limit, LimitSource
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


class ChargerSettings(Struct, frozen=True):
    """What is configured. `features` are codes of the Energy EVSE cluster, None for all possible.

    `zone` is where charging targets count (None: the system's). `circuit_capacity_ma` is
    what the installation carries, `user_maximum_ma` the user's limit until one is written.
    `may_charge_when_new` allows charging without end until a controller says otherwise.
    `are_vehicles_known`: no vehicle comes that was not here before, so that a plan need not reckon
    with a slower one. `watch` and `solar` say where lines are drawn and how slowly the sun is
    followed.
    """

    evse: EvseSettings = field(default_factory=EvseSettings)
    features: frozenset[str] | None = None
    circuit_capacity_ma: Milliamps = Milliamps(32_000)
    user_maximum_ma: Milliamps = Milliamps(80_000)
    may_charge_when_new: bool = False
    are_vehicles_known: bool = False
    zone: tzinfo | None = None
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    solar: SolarSettings = field(default_factory=SolarSettings)


class Snapshot(Struct, frozen=True):
    """The charger as others may see it: a window on one of the machine's states.

    Most of it is never asked for, so it is looked up only then.
    """

    evse: EvseState
    next_charge: NextCharge
    is_test_mode: bool

    @property
    def state(self) -> State:
        """Where the vehicle's side of the story is."""
        return self.evse.state

    @property
    def supply_state(self) -> SupplyState:
        """What is allowed, or why nothing is."""
        return self.evse.supply_state

    @property
    def fault(self) -> FaultState:
        """The fault that is shown."""
        return self.evse.fault

    @property
    def faults(self) -> tuple[FaultState, ...]:
        """All that are present, the oldest first."""
        return self.evse.faults

    @property
    def charging(self) -> Permission | None:
        """Until when charging is allowed; None if it is not."""
        return self.evse.charging

    @property
    def discharging(self) -> Permission | None:
        """Until when discharging is allowed; None if it is not."""
        return self.evse.discharging

    @property
    def circuit_capacity_ma(self) -> Milliamps:
        """What the installation carries."""
        return self.evse.charge_limits.claim(LimitSource.CIRCUIT) or Milliamps(0)

    @property
    def minimum_charge_ma(self) -> Milliamps:
        """The least with which the vehicle may be asked to charge."""
        return self.evse.minimum_charge_ma

    @property
    def maximum_charge_ma(self) -> Milliamps:
        """The lowest of all claims on the charge current."""
        return self.evse.charge_limits.current_ma

    @property
    def maximum_discharge_ma(self) -> Milliamps:
        """The lowest of all claims on the discharge current."""
        return self.evse.discharge_limits.current_ma

    @property
    def user_maximum_charge_ma(self) -> Milliamps:
        """The user's own limit."""
        return self.evse.charge_limits.claim(LimitSource.USER) or Milliamps(0)

    @property
    def limit(self) -> Limit:
        """The lowest claim on the charge current, and whose it is."""
        return self.evse.charge_limits.lowest

    @property
    def is_held(self) -> bool:
        """True while charging waits for the start of the plan."""
        return self.evse.is_held

    @property
    def is_card_awaited(self) -> bool:
        """True while no energy flows because nobody has shown a card."""
        return self.evse.is_card_awaited

    @property
    def vehicle(self) -> Vehicle:
        """What the vehicle tells of itself."""
        return self.evse.vehicle

    @property
    def session(self) -> Session | None:
        """The running session, or the last one."""
        return self.evse.session

    @property
    def meter(self) -> MeterReading:
        """The meter's totals when they were last looked at."""
        return self.evse.meter

    @property
    def pilot(self) -> PilotState | None:
        """What the vehicle puts on the pilot."""
        return self.evse.pilot

    @property
    def pilot_output(self) -> PilotOutput:
        """What the charger puts on the pilot."""
        return self.evse.outputs.pilot

    @property
    def offered_ma(self) -> Milliamps:
        """The current that the duty cycle offers; it counts in X2 only."""
        return self.evse.outputs.offered_ma

    @property
    def contactor(self) -> ContactorState:
        """What is known of the contactor."""
        return self.evse.outputs.contactor

    @property
    def is_locked(self) -> bool:
        """True while the plug is held."""
        return self.evse.outputs.is_locked


_but_meter: Final = attrgetter(*(name for name in EvseState.__struct_fields__ if name != "meter"))


def differs_beyond_meter(before: EvseState, state: EvseState) -> bool:
    """Return whether two states differ in more than the meter's totals."""
    return _but_meter(before) != _but_meter(state)


Observer: TypeAlias = Callable[[Snapshot, tuple[Notification, ...], float], None]
