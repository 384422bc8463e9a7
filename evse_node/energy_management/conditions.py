"""What the charger gives energy management to work with.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from evse_node.energy_management.forecast import PowerRange
from evse_node.units import EpochSeconds, Milliamps, Millivolts, MilliwattHours, power_mw


class Availability(Enum):
    """Whether the appliance takes part at all."""

    ONLINE = "online"
    OFFLINE = "offline"
    FAULT = "fault"


class Supply(Struct, frozen=True):
    """The current that may be offered, and what it means in power.

    `maximum_ma` is the limit of all others: energy management's own claim left out, and
    what the charger denies itself by following the sun. `intended_ma` is that, too: what
    the charger would offer by itself once it does not wait any more; 0 for nothing. Phases
    and currents are those that the vehicle is expected to use of what it is offered.
    `discharge_power` is what may be drawn from the vehicle, None for nothing: powers below
    zero, the most of it first.
    """

    voltage_mv: Millivolts
    phases: int
    minimum_ma: Milliamps
    maximum_ma: Milliamps
    intended_ma: Milliamps
    discharge_power: PowerRange | None = None

    @property
    def power(self) -> PowerRange | None:
        """The power that a vehicle may have; None when that is none at all."""
        return self._up_to(self.maximum_ma)

    @property
    def intended_power(self) -> PowerRange | None:
        """The power that the charger would give by itself; None when that is none at all."""
        return self._up_to(self.intended_ma)

    def _up_to(self, current_ma: Milliamps) -> PowerRange | None:
        if current_ma < self.minimum_ma:
            return None
        return PowerRange(
            power_mw(self.voltage_mv, self.minimum_ma, self.phases),
            power_mw(self.voltage_mv, current_ma, self.phases),
        )

    def current_ma(self, power: int) -> Milliamps:
        """Return the current that makes this power, rounded up to the milliamp.

        Up, so that a power that was a current rounded down becomes that current again.
        """
        return Milliamps(-(-power * 1000 // (self.voltage_mv * self.phases)))


class EnergyDemand(Struct, frozen=True):
    """What the vehicle shall have.

    `charged_mwh` is what it got in this session less what it gave back, `remaining_mwh` what
    a target still lacks (None: not known). `goal` names the target: it changes when the
    target does, and not with the progress towards it. `reserve_s` is how much longer it may
    take, because nobody knows the vehicle yet.
    """

    charged_mwh: MilliwattHours = MilliwattHours(0)
    remaining_mwh: MilliwattHours | None = None
    deadline: EpochSeconds | None = None
    goal: tuple[int | None, ...] = ()
    reserve_s: int = 0

    @property
    def is_promised(self) -> bool:
        """True when somebody counts on an amount of energy by a time."""
        return bool(self.remaining_mwh) and self.deadline is not None


class DischargePlan(Struct, frozen=True):
    """What the charger draws from the vehicle by itself, where it is only to discharge.

    `until` is when that has to end, `available_mwh` what the battery has; None is not known.
    """

    until: EpochSeconds | None = None
    available_mwh: MilliwattHours | None = None


class Conditions(Struct, frozen=True):
    """The charger and its vehicle now.

    `power` is the range of the whole appliance, whatever is limited at present; it begins
    below zero for one that can discharge.
    `is_connected`: a vehicle is there and may be charged, or discharged. `wants_energy`: as
    far as one can tell, it would take energy that it is offered. `start_time` is when the
    charger's own schedule begins, None when it does not wait. `giving` is None where the
    vehicle may be charged, or gives nothing.
    """

    availability: Availability
    power: PowerRange
    supply: Supply
    is_connected: bool = False
    wants_energy: bool = False
    need: EnergyDemand = EnergyDemand()
    start_time: EpochSeconds | None = None
    giving: DischargePlan | None = None


class Moment(Struct, frozen=True):
    """When something happens: monotonic seconds, the wall clock, and the meter then.

    `epoch_s` is None while the wall clock is not known; `meter_mwh` is the energy that
    went to the vehicle less what came from it, since whenever.
    """

    now: float
    epoch_s: EpochSeconds | None
    meter_mwh: MilliwattHours
