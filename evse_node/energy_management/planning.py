"""Planning of forecasts: delivery of an energy in time, within the available power.

Spec: Matter Application Clusters 1.3 "Forecast Attribute"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from evse_node.energy_management.conditions import DischargePlan, EnergyDemand
from evse_node.energy_management.forecast import (
    Forecast,
    PowerRange,
    Slot,
    SlotLimits,
    duration_for,
    energy_of,
)
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts

MAXIMUM_SLOTS: Final = 10
IDLE: Final = 0
CHARGING: Final = 1
DISCHARGING: Final = 2

_SLOT_S: Final = 3600
"""Longer periods of one power are split into slots, so that each can be changed."""
_SHORTEST_PAUSE_S: Final = 60
"""Cars take seconds to stop and restart, and contacts wear with each pause."""
_LONGEST_PAUSE_S: Final = 3600
_FLEXIBILITY_S: Final = 3600
"""Allowed delay of the end for a vehicle without a target."""
_TYPICAL_SESSION_MWH: Final = 20_000_000
_LEAST_DURATION_S: Final = 15 * 60
"""Assumed minimum for a vehicle that keeps requesting energy."""
_LEAST_PROMISED_S: Final = 60
"""The same when a target is almost reached: no forecast covers a mere moment."""
_LONGEST_DURATION_S: Final = 7 * 24 * 3600
"""Upper bound of the length of a forecast."""


class Cap(Struct, frozen=True):
    """Upper limit of the power in a period."""

    start_time: EpochSeconds
    end_time: EpochSeconds
    power_mw: Milliwatts


class Block(NamedTuple):
    """A period of constant power: 0 is off, negative is discharging."""

    duration_s: int
    power_mw: int


def expected_energy(demand: EnergyDemand, power: PowerRange) -> MilliwattHours:
    """Return the energy that a vehicle is expected to draw; a typical session if unknown."""
    expected_mwh = demand.remaining_mwh or _TYPICAL_SESSION_MWH - demand.charged_mwh
    least_s = _LEAST_PROMISED_S if demand.is_promised else _LEAST_DURATION_S
    least_mwh = energy_of(power.maximum_mw, least_s)
    most_mwh = energy_of(power.maximum_mw, _LONGEST_DURATION_S)
    return MilliwattHours(min(max(expected_mwh, least_mwh), most_mwh))


def dischargeable_energy(
    demand: EnergyDemand, discharge_plan: DischargePlan, power: PowerRange
) -> MilliwattHours:
    """Return the energy that a vehicle is expected to supply; a typical session if unknown."""
    most_mwh = -energy_of(power.minimum_mw, _LONGEST_DURATION_S)
    if discharge_plan.available_mwh is not None:
        return MilliwattHours(min(discharge_plan.available_mwh, most_mwh))
    least_mwh = -energy_of(power.minimum_mw, _LEAST_DURATION_S)
    return MilliwattHours(min(max(_TYPICAL_SESSION_MWH + demand.charged_mwh, least_mwh), most_mwh))


def make_discharge_forecast(
    energy_mwh: int,
    start_time: EpochSeconds,
    until: EpochSeconds | None,
    power: PowerRange,
    first: Block | None = None,
) -> Forecast:
    """Return a forecast of discharging an energy at full power, at most until a time.

    `first` is a fixed block at the beginning. Requests cannot change such a forecast.
    """
    blocks: list[Block] = []
    if first is not None:
        first_s = min(first.duration_s, duration_for(energy_mwh, -first.power_mw))
        blocks.append(Block(first_s, first.power_mw))
        energy_mwh += energy_of(first.power_mw, first_s)
    if energy_mwh > 0:
        rest_s = duration_for(energy_mwh, -power.minimum_mw)
        blocks.append(Block(max(rest_s, _LEAST_PROMISED_S), power.minimum_mw))
    left_s = None if until is None else max(1, until - start_time)
    kept: list[Block] = []
    for block in _merged(blocks):
        duration_s = block.duration_s if left_s is None else min(block.duration_s, left_s)
        if duration_s:
            kept.append(Block(duration_s, block.power_mw))
        left_s = None if left_s is None else left_s - duration_s
    end_time = EpochSeconds(start_time + sum(block.duration_s for block in kept))
    slots = tuple(_slot(piece, 0, power, power) for piece in _split(kept))
    return Forecast(0, start_time, end_time, end_time, slots)


def fill(
    energy_mwh: int,
    start_time: EpochSeconds,
    power: PowerRange,
    caps: Sequence[Cap] = (),
    discharge_power: PowerRange | None = None,
) -> list[Block]:
    """Deliver an energy as early as the caps allow. `caps` are in order and do not overlap.

    A cap within `discharge_power` is a period of discharging, whose energy is delivered
    again afterwards.
    """
    blocks: list[Block] = []
    left_mws, now = energy_mwh * 3600, int(start_time)
    for cap in caps:
        cap_mw = min(cap.power_mw, power.maximum_mw)
        is_discharging = discharge_power is not None and discharge_power.contains(cap_mw)
        if cap_mw < power.minimum_mw and not is_discharging:
            cap_mw = Milliwatts(0)
        for power_mw, until in ((power.maximum_mw, cap.start_time), (cap_mw, cap.end_time)):
            available_s = until - now
            if available_s <= 0 or left_mws <= 0:
                continue
            used_s = min(available_s, -(-left_mws // power_mw)) if power_mw > 0 else available_s
            blocks.append(Block(used_s, power_mw))
            left_mws -= power_mw * used_s
            now += used_s
    if left_mws > 0:
        blocks.append(Block(-(-left_mws // power.maximum_mw), power.maximum_mw))
    return _merged(blocks)


def _merged(blocks: Sequence[Block]) -> list[Block]:
    merged: list[Block] = []
    for block in blocks:
        if merged and merged[-1].power_mw == block.power_mw:
            merged[-1] = Block(merged[-1].duration_s + block.duration_s, block.power_mw)
        else:
            merged.append(block)
    return merged


def make_forecast(
    number: int,
    energy_mwh: int,
    start_time: EpochSeconds,
    latest_end_time: EpochSeconds | None,
    power: PowerRange,
    caps: Sequence[Cap] = (),
    discharge_power: PowerRange | None = None,
) -> Forecast | None:
    """Return a forecast that delivers an energy, or None if it would have too many slots.

    If it ends after `latest_end_time`, that moves to its end; without one some flexibility
    is added. An initial wait delays the start instead of being a slot.
    """
    blocks = fill(energy_mwh, start_time, power, caps, discharge_power)
    if blocks and not blocks[0].power_mw:
        start_time = EpochSeconds(start_time + blocks[0].duration_s)
        del blocks[0]
    if not blocks or len(blocks) > MAXIMUM_SLOTS:
        return None
    end_time = EpochSeconds(start_time + sum(block.duration_s for block in blocks))
    if latest_end_time is None:
        latest_end_time = EpochSeconds(end_time + _FLEXIBILITY_S)
    latest_end_time = max(latest_end_time, end_time)
    pieces = _split(blocks)
    # Pieces of a block differ by at most a second.
    slack_s = latest_end_time - end_time
    slots = {each: _slot(each, slack_s, power, discharge_power) for each in set(pieces)}
    return Forecast(
        id=number,
        start_time=start_time,
        end_time=end_time,
        latest_end_time=latest_end_time,
        slots=tuple(slots[each] for each in pieces),
    )


def _split(blocks: Sequence[Block]) -> list[Block]:
    """Split long blocks into slots of about an hour, up to the maximum number."""
    spare = MAXIMUM_SLOTS - len(blocks)
    pieces: list[Block] = []
    for block in blocks:
        wanted = -(-block.duration_s // _SLOT_S) - 1 if block.power_mw else 0
        count = 1 + min(wanted, spare)
        spare -= count - 1
        each_s, rest_s = divmod(block.duration_s, count)
        pieces += (Block(each_s + (index < rest_s), block.power_mw) for index in range(count))
    return pieces


def _slot(
    block: Block, slack_s: int, power: PowerRange, discharge_power: PowerRange | None
) -> Slot:
    duration_s, power_mw = block
    if power_mw > 0:
        bounds, esa_state = power, CHARGING
    elif power_mw < 0 and discharge_power is not None:
        bounds, esa_state = discharge_power, DISCHARGING
    else:
        bounds, esa_state = PowerRange(Milliwatts(0), Milliwatts(0)), IDLE
    slot = Slot(
        duration_s=duration_s,
        shortest_s=duration_s,
        longest_s=duration_s,
        power_mw=Milliwatts(power_mw),
        power=bounds,
        energy_mwh=energy_of(power_mw, duration_s),
        esa_state=esa_state,
    )
    return _flexible_slot(slot, slack_s, power)


def flexible(forecast: Forecast, power: PowerRange) -> Forecast:
    """Return a forecast with the flexibility of its slots, bounded by the latest end."""
    slots = tuple(_flexible_slot(slot, forecast.slack_s, power) for slot in forecast.slots)
    return replace(forecast, slots=slots)


def _flexible_slot(slot: Slot, slack_s: int, power: PowerRange) -> Slot:
    if slot.power_mw <= 0:
        return slot
    shortest_s = min(slot.duration_s, duration_for(slot.energy_mwh, power.maximum_mw))
    longest_s = slot.duration_s + slack_s
    is_pausable = slack_s >= _SHORTEST_PAUSE_S
    return replace(
        slot,
        shortest_s=shortest_s,
        longest_s=longest_s,
        power=power,
        is_pausable=is_pausable,
        shortest_pause_s=_SHORTEST_PAUSE_S if is_pausable else 0,
        longest_pause_s=min(slack_s, _LONGEST_PAUSE_S) if is_pausable else 0,
        limits=SlotLimits(power, shortest_s, longest_s),
    )
