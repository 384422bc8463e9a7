"""A simulated electric vehicle: a battery, an on-board charger, and habits.

Its time is simulated, in whole milliseconds since it was created, and passes with `advance_to`.
Power is computed once a second and after each change of the conditions, and energy is exact in
between, so results do not depend on the steps of `advance_to`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from evse_node.units import Milliamps, MilliwattHours, Milliwatts

SECOND_MS: Final = 1000
_MW_MS_PER_MWH: Final = 3_600_000


class EnergyCounter:
    """Counter of energy from power and time, exact by carrying the remainder."""

    def __init__(self) -> None:
        self.total_mwh = MilliwattHours(0)
        self._remainder = 0

    def add(self, power_mw: int, duration_ms: int) -> int:
        """Add a non-negative power over a time. Return the whole mWh added."""
        added, self._remainder = divmod(self._remainder + power_mw * duration_ms, _MW_MS_PER_MWH)
        self.total_mwh = MilliwattHours(self.total_mwh + added)
        return added


class Habits(Struct):
    """Behaviour of the vehicle. Times are simulated seconds; 0 disables a habit.

    `asks_at_once`: it requests energy when plugged in. `stops_at_percent`: the state of charge
    at which it stops. `pauses_after_s` and `pauses_for_s`: it pauses its request after charging
    for a while. `leaves_after_s`: it is unplugged this long after it stopped.
    `asks_without_offer`: it shows state C also without PWM, otherwise only once current is
    offered. `heeds_offer`: it draws at most the offered current, otherwise all that its charger
    can.
    """

    asks_at_once: bool = False
    stops_at_percent: int = 100
    pauses_after_s: int = 0
    pauses_for_s: int = 0
    leaves_after_s: int = 0
    asks_without_offer: bool = True
    heeds_offer: bool = True


class Supply(Struct):
    """Present supply by the charger.

    `offered_ma` is the current of the duty cycle, 0 without PWM; `discharge_ma` the current
    that the charger draws, None for charging.
    """

    is_powered: bool = False
    offered_ma: int = 0
    discharge_ma: int | None = None
    voltage_mv: int = 230_000
    phases: int = 1


class ElectricCar(Struct):
    """The vehicle. Call `refresh` after a change of its attributes."""

    capacity_mwh: MilliwattHours = MilliwattHours(60_000_000)
    charger_minimum_ma: Milliamps = Milliamps(6_000)
    charger_maximum_ma: Milliamps = Milliamps(16_000)
    phases: int = 3
    taper_from_percent: int = 80
    taper_to_permille: int = 100
    vehicle_id: str | None = "SIMULATED-EV-0001"
    habits: Habits = field(default_factory=Habits)
    stored_mwh: MilliwattHours = MilliwattHours(24_000_000)

    is_plugged_in: bool = False
    wants_energy: bool = False
    supply: Supply = field(default_factory=Supply)
    power_mw: Milliwatts = Milliwatts(0)
    now_ms: int = 0
    charged: EnergyCounter = field(default_factory=EnergyCounter)
    discharged: EnergyCounter = field(default_factory=EnergyCounter)

    _charging_since_ms: int | None = None
    _resumes_at_ms: int | None = None
    _leaves_at_ms: int | None = None

    # Actions of a person

    def plug_in(self) -> None:
        self.is_plugged_in = True
        self._leaves_at_ms = None
        self.wants_energy = self.habits.asks_at_once and not self.is_content
        self.refresh()

    def unplug(self) -> None:
        self.is_plugged_in = False
        self.wants_energy = False
        self._charging_since_ms = self._resumes_at_ms = self._leaves_at_ms = None
        self.refresh()

    def demand(self, wants_energy: bool) -> None:
        """Start or end the request for energy."""
        self.wants_energy = wants_energy and self.is_plugged_in
        self._resumes_at_ms = None
        self.refresh()

    @property
    def state_of_charge_percent(self) -> int:
        """The battery's state of charge, rounded down."""
        return self.stored_mwh * 100 // self.capacity_mwh if self.capacity_mwh else 0

    @state_of_charge_percent.setter
    def state_of_charge_percent(self, percent: int) -> None:
        # Rounded up, so that the getter returns the value that was set.
        self.stored_mwh = MilliwattHours(-(-percent * self.capacity_mwh // 100))

    @property
    def is_content(self) -> bool:
        """True when the battery is as full as the habits require."""
        wanted_mwh = self.habits.stops_at_percent * self.capacity_mwh // 100
        return self.stored_mwh >= wanted_mwh

    @property
    def is_asking(self) -> bool:
        """True while the vehicle shows state C."""
        if not self.is_plugged_in or not self.wants_energy:
            return False
        return self.habits.asks_without_offer or self.supply.offered_ma > 0

    @property
    def current_ma(self) -> Milliamps:
        """Current per phase in use, negative while the vehicle feeds back."""
        volts = self.supply.voltage_mv * self._used_phases
        return Milliamps(0 if volts == 0 else int(self.power_mw * 1000 / volts))

    @property
    def _used_phases(self) -> int:
        return min(self.phases, self.supply.phases)

    @property
    def _is_about_to_stop(self) -> bool:
        """True when a full vehicle requests energy, which it is about to stop."""
        supply = self.supply
        return (
            self.is_asking and self.is_content and supply.is_powered and supply.discharge_ma is None
        )

    # Time

    def next_change_ms(self) -> int | None:
        """Return the time of the vehicle's next own action, or None."""
        moments = [
            moment for moment in (self._resumes_at_ms, self._leaves_at_ms) if moment is not None
        ]
        if self.power_mw or self._is_about_to_stop:
            moments.append((self.now_ms // SECOND_MS + 1) * SECOND_MS)
        return min(moments, default=None)

    def advance_to(self, now_ms: int) -> None:
        """Let simulated time pass. A time in the past has no effect."""
        while self.now_ms < now_ms:
            change = self.next_change_ms()
            until = now_ms if change is None else min(now_ms, max(change, self.now_ms))
            self._count(until - self.now_ms)
            self.now_ms = until
            if change is not None and change <= until:
                self._apply_habits()
                self.refresh()

    def refresh(self) -> None:
        """Recompute the power, after any change."""
        self.power_mw = Milliwatts(self._power_now())
        if self.power_mw > 0:
            if self._charging_since_ms is None:
                self._charging_since_ms = self.now_ms
        else:
            self._charging_since_ms = None

    def _count(self, duration_ms: int) -> None:
        if self.power_mw > 0:
            added = self.charged.add(self.power_mw, duration_ms)
            self.stored_mwh = MilliwattHours(min(self.capacity_mwh, self.stored_mwh + added))
        elif self.power_mw < 0:
            taken = self.discharged.add(-self.power_mw, duration_ms)
            self.stored_mwh = MilliwattHours(max(0, self.stored_mwh - taken))

    def _apply_habits(self) -> None:
        """Apply the habits."""
        habits = self.habits
        if self._leaves_at_ms is not None and self.now_ms >= self._leaves_at_ms:
            self.unplug()
            return
        if self._resumes_at_ms is not None and self.now_ms >= self._resumes_at_ms:
            self._resumes_at_ms = None
            self.wants_energy = not self.is_content
        if not self.wants_energy:
            return
        if self.supply.discharge_ma is None and self.is_content:
            self.wants_energy = False
            if habits.leaves_after_s:
                self._leaves_at_ms = self.now_ms + habits.leaves_after_s * SECOND_MS
        elif habits.pauses_after_s and self._charging_since_ms is not None:
            charged_for_ms = self.now_ms - self._charging_since_ms
            if charged_for_ms >= habits.pauses_after_s * SECOND_MS:
                self.wants_energy = False
                self._resumes_at_ms = self.now_ms + habits.pauses_for_s * SECOND_MS

    def _power_now(self) -> int:
        supply = self.supply
        if not (self.is_asking and supply.is_powered and supply.offered_ma):
            return 0
        volts = supply.voltage_mv * self._used_phases
        if supply.discharge_ma is not None:
            if self.stored_mwh <= 0:
                return 0
            return -(volts * min(supply.discharge_ma, self.charger_maximum_ma) // 1000)
        if supply.offered_ma < self.charger_minimum_ma or self.is_content:
            return 0
        taken_ma: int = self.charger_maximum_ma
        if self.habits.heeds_offer:
            taken_ma = min(taken_ma, supply.offered_ma)
        full_mw = volts * taken_ma // 1000
        return min(full_mw, self._battery_limit_mw())

    def _battery_limit_mw(self) -> int:
        """Return the highest power that the battery accepts.

        From `taper_from_percent` it falls linearly to `taper_to_permille` at 100 %.
        """
        limit_mw = self.supply.voltage_mv * self.phases * self.charger_maximum_ma // 1000
        start_mwh = self.taper_from_percent * self.capacity_mwh // 100
        span_mwh = self.capacity_mwh - start_mwh
        if self.stored_mwh <= start_mwh or span_mwh <= 0:
            return limit_mw
        left_mwh = self.capacity_mwh - self.stored_mwh
        permille = self.taper_to_permille + (1000 - self.taper_to_permille) * left_mwh // span_mwh
        return limit_mw * permille // 1000
