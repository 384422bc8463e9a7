"""Forecasts: what the appliance intends to draw, slot by slot, and how far that may be changed.

Spec: Matter Application Clusters 1.3 "ForecastStruct"
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts


class PowerRange(Struct, frozen=True):
    """The least and the most power of an appliance that is on; below zero it gives power."""

    minimum_mw: Milliwatts
    maximum_mw: Milliwatts

    def holds(self, power_mw: int) -> bool:
        """Tell whether a power lies in the range."""
        return self.minimum_mw <= power_mw <= self.maximum_mw


class SlotLimits(Struct, frozen=True):
    """How far a request may change the power and the length of a slot."""

    power: PowerRange
    shortest_s: int
    longest_s: int


class Slot(Struct, frozen=True):
    """A time of even power. Lengths are whole seconds.

    `duration_s` is the planned length, pauses included. `shortest_pause_s` and
    `longest_pause_s` count only for a slot that `is_pausable`. A slot without `limits`
    cannot be changed. `esa_state` is the maker's own number of what goes on.
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
    """A plan with a number that grows from forecast to forecast.

    `earliest_start_time` is None when it may start at once, `active_slot` before the start.
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
        """By how many seconds the end may still be put off."""
        return max(0, self.latest_end_time - self.end_time)

    @property
    def energy_mwh(self) -> MilliwattHours:
        """What all slots together take."""
        return MilliwattHours(sum(slot.energy_mwh for slot in self.slots))

    def at(self, now: EpochSeconds) -> Forecast:
        """Return the forecast with the progress that it has made by a time."""
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
        """Return which slot is active at a time, the last one also after its end."""
        active: int | None = None
        begins = int(self.start_time)
        for index, slot in enumerate(self.slots):
            if now < begins:
                break
            active = index
            begins += slot.duration_s
        return active

    def next_boundary(self, now: EpochSeconds) -> EpochSeconds | None:
        """Return when the next slot begins or the last one ends; None after the end."""
        boundary = int(self.start_time)
        for slot in self.slots:
            if boundary > now:
                return EpochSeconds(boundary)
            boundary += slot.duration_s
        return EpochSeconds(boundary) if boundary > now else None

    def shifted(self, start_time: EpochSeconds) -> Forecast:
        """Return the forecast with another start and the same length."""
        end_time = EpochSeconds(self.end_time + start_time - self.start_time)
        return replace(self, start_time=start_time, end_time=end_time)

    def with_slot(self, index: int, slot: Slot) -> Forecast:
        """Return the forecast with another slot, and all that comes after it moved along."""
        end_time = self.end_time + slot.duration_s - self.slots[index].duration_s
        slots = (*self.slots[:index], slot, *self.slots[index + 1 :])
        return replace(self, slots=slots, end_time=EpochSeconds(end_time))

    def left_at(self, now: EpochSeconds) -> Forecast:
        """Return what is left of a forecast at a time, as a forecast that begins then.

        One that has not begun, or has ended, is left as it is.
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
    """Return the energy of an even power, rounded down."""
    return MilliwattHours(power_mw * duration_s // 3600)


def duration_for(energy_mwh: int, power_mw: int) -> int:
    """Return the whole seconds that an even power needs for an energy, rounded up."""
    return -(-energy_mwh * 3600 // power_mw)
