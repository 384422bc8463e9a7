"""Settings of a charger, and the snapshot of its state for observers.

An observer is called after each change with the snapshot, the notifications in order, and the
monotonic time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import tzinfo
from operator import attrgetter
from typing import Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import force_setattr

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
    """Settings of one charger.

    `features` are codes of the Energy EVSE cluster, None for all that the backend supports. `zone`
    is the time zone of charging targets (None: the system's). `circuit_capacity_ma` is the rating
    of the installation, `user_maximum_ma` the user's limit until one is written.
    After an outage of more than `card_outage_s`, a card must be presented again.
    `may_charge_when_new` enables charging without end until the first command.
    `are_vehicles_known`: only vehicles that charged here before are expected, so that a plan
    need not allow for a slower one. `watch`, the name of `monitor` up to version 0.1, is accepted
    with a DeprecationWarning, and always reads as None.
    """

    evse: EvseSettings = field(default_factory=EvseSettings)
    features: frozenset[str] | None = None
    circuit_capacity_ma: Milliamps = Milliamps(32_000)
    user_maximum_ma: Milliamps = Milliamps(80_000)
    may_charge_when_new: bool = False
    card_outage_s: float = 300.0
    are_vehicles_known: bool = False
    zone: tzinfo | None = None
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    solar: SolarSettings = field(default_factory=SolarSettings)
    watch: MonitorSettings | None = None

    def __post_init__(self) -> None:
        """Take the monitor's settings under their former name."""
        if self.watch is not None:
            warnings.warn(
                "ChargerSettings: watch is deprecated, use monitor",
                DeprecationWarning,
                stacklevel=2,
            )
            force_setattr(self, "monitor", self.watch)
            force_setattr(self, "watch", None)


class Snapshot(Struct, frozen=True):
    """Immutable view of one state; values are looked up when read, because most never are."""

    evse: EvseState
    next_charge: NextCharge
    is_test_mode: bool

    @property
    def state(self) -> State:
        """The vehicle state."""
        return self.evse.state

    @property
    def supply_state(self) -> SupplyState:
        """The supply state."""
        return self.evse.supply_state

    @property
    def fault(self) -> FaultState:
        """The fault that is shown."""
        return self.evse.fault

    @property
    def faults(self) -> tuple[FaultState, ...]:
        """All present faults, the oldest first."""
        return self.evse.faults

    @property
    def charging(self) -> Permission | None:
        """The permission to charge; None when disabled."""
        return self.evse.charging

    @property
    def discharging(self) -> Permission | None:
        """The permission to discharge; None when disabled."""
        return self.evse.discharging

    @property
    def circuit_capacity_ma(self) -> Milliamps:
        """The rating of the installation."""
        return self.evse.charge_limits.claim(LimitSource.CIRCUIT) or Milliamps(0)

    @property
    def minimum_charge_ma(self) -> Milliamps:
        """The minimum charge current of the command."""
        return self.evse.minimum_charge_ma

    @property
    def maximum_charge_ma(self) -> Milliamps:
        """The lowest limit of the charge current."""
        return self.evse.charge_limits.current_ma

    @property
    def maximum_discharge_ma(self) -> Milliamps:
        """The lowest limit of the discharge current."""
        return self.evse.discharge_limits.current_ma

    @property
    def user_maximum_charge_ma(self) -> Milliamps:
        """The user's limit."""
        return self.evse.charge_limits.claim(LimitSource.USER) or Milliamps(0)

    @property
    def limit(self) -> Limit:
        """The lowest limit of the charge current, and its source."""
        return self.evse.charge_limits.lowest

    @property
    def is_held(self) -> bool:
        """True while charging waits for the planned start."""
        return self.evse.is_held

    @property
    def is_card_awaited(self) -> bool:
        """True while no energy may flow for lack of an allowed card."""
        return self.evse.is_card_awaited

    @property
    def is_closing_limited(self) -> bool:
        """True while the contactor may not close, because it closed too often in a minute."""
        return self.evse.is_closing_limited

    @property
    def vehicle(self) -> Vehicle:
        """Data reported by the vehicle."""
        return self.evse.vehicle

    @property
    def session(self) -> Session | None:
        """The running session, or the last one."""
        return self.evse.session

    @property
    def meter(self) -> MeterReading:
        """The meter's totals at the last poll."""
        return self.evse.meter

    @property
    def pilot(self) -> PilotState | None:
        """The vehicle state on the pilot."""
        return self.evse.pilot

    @property
    def pilot_output(self) -> PilotOutput:
        """The charger's signal on the pilot."""
        return self.evse.outputs.pilot

    @property
    def offered_ma(self) -> Milliamps:
        """The offered current; valid in X2 only."""
        return self.evse.outputs.offered_ma

    @property
    def contactor(self) -> ContactorState:
        """The state of the contactor."""
        return self.evse.outputs.contactor

    @property
    def is_locked(self) -> bool:
        """True while the plug is locked."""
        return self.evse.outputs.is_locked


_but_meter: Final = attrgetter(*(name for name in EvseState.__struct_fields__ if name != "meter"))


def differs_beyond_meter(before: EvseState, state: EvseState) -> bool:
    """Return whether two states differ in anything but the meter's totals."""
    return _but_meter(before) != _but_meter(state)


Observer: TypeAlias = Callable[[Snapshot, tuple[Notification, ...], float], None]
