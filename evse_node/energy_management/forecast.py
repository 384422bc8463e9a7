"""Forecasts: the power that the appliance plans to draw, slot by slot, and its flexibility.

Spec: Matter Application Clusters 1.3 "ForecastStruct"
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts


class PowerRange(Struct, frozen=True):
    """Range of the power of an active appliance; negative powers are supplied by it."""

    minimum_mw: Milliwatts
    maximum_mw: Milliwatts

    def contains(self, power_mw: int) -> bool:
        """Return whether a power lies in the range."""
        return self.minimum_mw <= power_mw <= self.maximum_mw


class SlotLimits(Struct, frozen=True):
    """Bounds within which a request may change power and duration of a slot."""

    power: PowerRange
    shortest_s: int
    longest_s: int


class Slot(Struct, frozen=True):
    """A period of constant power. Durations are whole seconds.

    `duration_s` is the planned duration, pauses included. `shortest_pause_s` and
    `longest_pause_s` apply only to a slot that `is_pausable`. A slot without `limits`
    cannot be changed. `esa_state` is a manufacturer-specific state.
    Spec: Matter Application Clusters 1.3 "SlotStruct"
    """

    duration_s: int
    shortest_s: int
    longest_s: int
    power_mw: Milliwatts
    power: PowerRange
    energy_mwh: MilliwattHours
    esa_state: int
    is_pausable: bool = False
    shortest_pause_s: int = 0
    longest_pause_s: int = 0
    limits: SlotLimits | None = None
    elapsed_s: int = 0
    remaining_s: int = 0


class Forecast(Struct, frozen=True):
    """A plan with an id that increases from forecast to forecast.

    `earliest_start_time` is None if it may start at once; `active_slot` is None before the start.
    """

    id: int
    start_time: EpochSeconds
    end_time: EpochSeconds
    latest_end_time: EpochSeconds
    slots: tuple[Slot, ...]
    earliest_start_time: EpochSeconds | None = None
    active_slot: int | None = None

    @property
    def is_pausable(self) -> bool:
        """True when there is a slot that can be paused."""
        return any(slot.is_pausable for slot in self.slots)

    @property
    def slack_s(self) -> int:
        """Seconds by which the end may still be delayed."""
        return max(0, self.latest_end_time - self.end_time)

    @property
    def energy_mwh(self) -> MilliwattHours:
        """The energy of all slots."""
        return MilliwattHours(sum(slot.energy_mwh for slot in self.slots))

    def at(self, now: EpochSeconds) -> Forecast:
        """Return the forecast with its progress at a time."""
        slots: list[Slot] = []
        begins = int(self.start_time)
        for slot in self.slots:
            elapsed_s = min(max(0, now - begins), slot.duration_s)
            slots.append(
                replace(slot, elapsed_s=elapsed_s, remaining_s=slot.duration_s - elapsed_s)
            )
            begins += slot.duration_s
        return replace(self, active_slot=self.active_slot_at(now), slots=tuple(slots))

    def active_slot_at(self, now: EpochSeconds) -> int | None:
        """Return the index of the slot active at a time; after the end it is the last one."""
        active: int | None = None
        begins = int(self.start_time)
        for index, slot in enumerate(self.slots):
            if now < begins:
                break
            active = index
            begins += slot.duration_s
        return active

    def next_boundary(self, now: EpochSeconds) -> EpochSeconds | None:
        """Return the next start of a slot, or the end of the last one; None after it."""
        boundary = int(self.start_time)
        for slot in self.slots:
            if boundary > now:
                return EpochSeconds(boundary)
            boundary += slot.duration_s
        return EpochSeconds(boundary) if boundary > now else None

    def shifted(self, start_time: EpochSeconds) -> Forecast:
        """Return the forecast with another start time and the same duration."""
        end_time = EpochSeconds(self.end_time + start_time - self.start_time)
        return replace(self, start_time=start_time, end_time=end_time)

    def with_slot(self, index: int, slot: Slot) -> Forecast:
        """Return the forecast with a slot replaced and the later ones moved accordingly."""
        end_time = self.end_time + slot.duration_s - self.slots[index].duration_s
        slots = (*self.slots[:index], slot, *self.slots[index + 1 :])
        return replace(self, slots=slots, end_time=EpochSeconds(end_time))

    def left_at(self, now: EpochSeconds) -> Forecast:
        """Return the remainder of the forecast at a time, as a forecast starting then.

        Before the start and after the end the forecast is returned unchanged.
        """
        if now <= self.start_time or now >= self.end_time:
            return self
        slots: list[Slot] = []
        for slot in self.at(now).slots:
            if slot.remaining_s:
                energy_mwh = slot.energy_mwh * slot.remaining_s // slot.duration_s
                slots.append(
                    replace(
                        slot,
                        duration_s=slot.remaining_s,
                        energy_mwh=MilliwattHours(energy_mwh),
                        elapsed_s=0,
                    )
                )
        return replace(self, start_time=now, slots=tuple(slots))


def energy_of(power_mw: int, duration_s: int) -> MilliwattHours:
    """Return the energy of a constant power, rounded down."""
    return MilliwattHours(power_mw * duration_s // 3600)


def duration_for(energy_mwh: int, power_mw: int) -> int:
    """Return the whole seconds that a constant power takes for an energy, rounded up."""
    return -(-energy_mwh * 3600 // power_mw)
