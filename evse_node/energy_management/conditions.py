"""State of the charger and its vehicle, as input to energy management.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from evse_node.energy_management.forecast import PowerRange
from evse_node.units import EpochSeconds, Milliamps, Millivolts, MilliwattHours, power_mw


class Availability(Enum):
    """Availability of the appliance for energy management."""

    ONLINE = "online"
    OFFLINE = "offline"
    FAULT = "fault"


class Supply(Struct, frozen=True):
    """The current available to the vehicle, and the power that it corresponds to.

    `maximum_ma` is the limit from all claims except those of energy management and of solar
    charging. `intended_ma` is the current that the charger would offer by itself once it no longer
    waits; 0 for none. Phases and currents are those that the vehicle is expected to draw.
    `discharge_power` is the range that may be drawn from the vehicle (negative, the largest
    power first), or None.
    """

    voltage_mv: Millivolts
    phases: int
    minimum_ma: Milliamps
    maximum_ma: Milliamps
    intended_ma: Milliamps
    discharge_power: PowerRange | None = None

    @property
    def power(self) -> PowerRange | None:
        """The power that a vehicle may draw, or None for none."""
        return self._up_to(self.maximum_ma)

    @property
    def intended_power(self) -> PowerRange | None:
        """The power that the charger would supply by itself, or None for none."""
        return self._up_to(self.intended_ma)

    def _up_to(self, current_ma: Milliamps) -> PowerRange | None:
        if current_ma < self.minimum_ma:
            return None
        return PowerRange(
            power_mw(self.voltage_mv, self.minimum_ma, self.phases),
            power_mw(self.voltage_mv, current_ma, self.phases),
        )

    def current_ma(self, power: int) -> Milliamps:
        """Return the current for a power, rounded up to the milliamp.

        Rounding up restores the current from which a power was computed by rounding down.
        """
        return Milliamps(-(-power * 1000 // (self.voltage_mv * self.phases)))


class EnergyDemand(Struct, frozen=True):
    """The energy that the vehicle requires.

    `charged_mwh` is the net energy of this session, `remaining_mwh` the energy missing to
    the target (None if unknown). `goal` identifies the target: it changes with the target,
    not with the progress towards it. `reserve_s` is the additional time that an unknown
    vehicle may demand.
    """

    charged_mwh: MilliwattHours = MilliwattHours(0)
    remaining_mwh: MilliwattHours | None = None
    deadline: EpochSeconds | None = None
    goal: tuple[int | None, ...] = ()
    reserve_s: int = 0

    @property
    def is_promised(self) -> bool:
        """True when an amount of energy is due by a time."""
        return bool(self.remaining_mwh) and self.deadline is not None


class DischargePlan(Struct, frozen=True):
    """Discharging by the charger itself, where the vehicle may only be discharged.

    `until` is the end of the permission, `available_mwh` the energy in the battery; None is
    unknown.
    """

    until: EpochSeconds | None = None
    available_mwh: MilliwattHours | None = None


class Conditions(Struct, frozen=True):
    """The present state of the charger and its vehicle.

    `power` is the range of the whole appliance, regardless of present limits; its minimum is
    negative if the charger can discharge. `is_connected`: a vehicle is connected and may be
    charged or discharged. `requests_energy`: it is expected to draw energy when offered.
    `start_time` is the start of the charger's own schedule, None when it is not waiting.
    `discharge_plan` is None where the vehicle may be charged, or supplies nothing.
    """

    availability: Availability
    power: PowerRange
    supply: Supply
    is_connected: bool = False
    requests_energy: bool = False
    demand: EnergyDemand = EnergyDemand()
    start_time: EpochSeconds | None = None
    discharge_plan: DischargePlan | None = None


class Moment(Struct, frozen=True):
    """A point in time: monotonic seconds, the wall clock, and the meter reading.

    `epoch_s` is None while the wall clock is unknown; `meter_mwh` is the net energy to the
    vehicle, from any fixed start.
    """

    now: float
    epoch_s: EpochSeconds | None
    meter_mwh: MilliwattHours
