"""What is known of a controller's registers: which one tells what, and what to write for what.

`register_file` reads it from TOML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct, field

from evse_node.hal.modbus.connection import ModbusSpec
from evse_node.hal.modbus.meter import RegisterMap
from evse_node.hal.modbus.table import Address, Block, group_reads
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

WHOLE_WORD: Final = 0xFFFF


class Place(Struct, frozen=True):
    """What of a register counts."""

    address: Address
    mask: int = WHOLE_WORD


class Condition(Struct, frozen=True):
    """Holds when the place has one of these values; without values, when any bit is set."""

    place: Place
    values: frozenset[int] = frozenset()

    def holds(self, words: Mapping[Address, int]) -> bool:
        """Tell by the words that were read."""
        word = words[self.place.address] & self.place.mask
        return word in self.values if self.values else word != 0


class FaultSign(Struct, frozen=True):
    """A fault is there while all conditions hold."""

    fault: FaultState
    conditions: tuple[Condition, ...]


class Scale(Struct, frozen=True):
    """A quantity in a register: so many steps to one ampere, degree, second.

    `fine_per_unit` holds instead while the condition `fine` does.
    """

    place: Place
    per_unit: float = 1
    offset: float = 0
    fine: Condition | None = None
    fine_per_unit: float = 1

    def steps(self, words: Mapping[Address, int]) -> float:
        """Return how many steps one unit is now."""
        is_fine = self.fine is not None and self.fine.holds(words)
        return self.fine_per_unit if is_fine else self.per_unit

    def milli(self, words: Mapping[Address, int]) -> int:
        """Return the quantity in thousandths of its unit."""
        word = words[self.place.address] & self.place.mask
        return round((word / self.steps(words) + self.offset) * 1000)

    def word(self, milli: int, words: Mapping[Address, int]) -> int:
        """Return what to write for a quantity, rounded down, and never more than fits."""
        steps = int((milli / 1000 - self.offset) * self.steps(words) + 1e-6)
        return min(max(steps, 0), self.place.mask)


class Write(Struct, frozen=True):
    """One register to write: a fixed value, or the current.

    With `broadcast_unit` it goes to all who listen there, who do not answer: a list of
    `count` registers, of which the one counted from the unit's own number means this
    controller (the first is that of unit 1). `only_if` leaves it out while it does not hold.
    `repeat_s` says it again and again, as a sign of life. What is written by `is_command`
    does not stay in the register.
    """

    address: Address
    value: int | Scale
    broadcast_unit: int | None = None
    count: int = 1
    only_if: Condition | None = None
    repeat_s: float | None = None
    is_command: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the controller can be asked for what was written."""
        return self.broadcast_unit is None and self.only_if is None and not self.is_command


class Target(Enum):
    """What a charger can ask a controller for."""

    SUPPLY = "supply"  # PWM, and contactor closed as soon as the vehicle is ready
    REST = "rest"  # X1: no offer, and open when the vehicle has ended its current
    OPEN = "open"  # open at once; without it, as REST
    UNAVAILABLE = "unavailable"  # state F; without it, as OPEN


class Fallback(Struct, frozen=True):
    """What the controller does by itself when nobody speaks to it.

    `after_s` and `current_ma` are fixed; `after` and `current` are registers that take
    them. `restart_current` is the register of the current after a restart. Such registers may
    be in memory that wears out, and are only written when they differ.
    """

    after_s: float | None = None
    current_ma: Milliamps | None = None
    after: Scale | None = None
    current: Scale | None = None
    restart_current: Scale | None = None

    @property
    def has_timeout(self) -> bool:
        """Whether the controller notices silence at all."""
        return self.after_s is not None or self.after is not None


class ControllerMap(Struct, frozen=True, kw_only=True):
    """One controller's registers.

    `pilot_states` say what the pilot's values mean; those of `pilot_kept` say nothing, so
    that what was known before holds, and any other is nonsense. `max_gap` is how many
    registers in between may be read along.
    """

    name: str
    document: str
    firmware: str
    link: ModbusSpec
    pause_s: float
    turnaround_s: float
    timeout_s: float
    has_single_writes: bool
    maximum_current_ma: Milliamps
    pilot: Place
    pilot_states: Mapping[int, PilotState]
    pilot_kept: frozenset[int] = frozenset()
    closed: tuple[Condition, ...]
    faults: tuple[FaultSign, ...] = ()
    enabled: tuple[Condition, ...] = ()
    offered: Scale | None = None
    limit: Scale | None = None
    cable: Scale | None = None
    temperature: Scale | None = None
    orders: Mapping[Target, tuple[Write, ...]] = field(default_factory=dict)
    fallback: Fallback = field(default_factory=Fallback)
    meter: RegisterMap | None = None
    max_gap: int = 0

    def status_blocks(self) -> list[Block]:
        """Return the reads that tell the status, as few as the gaps allow."""
        return group_reads((place.address for place in self._status_places()), self.max_gap)

    def setup_blocks(self) -> list[Block]:
        """Return the reads of what does not change while the controller runs."""
        return group_reads((place.address for place in self._setup_places()), self.max_gap)

    def _scales(self) -> tuple[Scale | None, ...]:
        return (self.offered, self.limit, self.cable, self.temperature)

    def _writes(self) -> Iterator[Write]:
        for writes in self.orders.values():
            yield from writes

    def _status_places(self) -> Iterator[Place]:
        yield self.pilot
        for condition in (*self.closed, *self.enabled):
            yield condition.place
        for sign in self.faults:
            for condition in sign.conditions:
                yield condition.place
        for scale in self._scales():
            if scale is not None:
                yield scale.place
        for write in self._writes():
            if write.only_if is not None:
                yield write.only_if.place
            elif write.is_kept:
                # Read back, so that a controller that started anew is told again.
                yield Place(write.address)

    def _setup_places(self) -> Iterator[Place]:
        fallback = self.fallback
        written = [write.value for write in self._writes() if isinstance(write.value, Scale)]
        own = (fallback.after, fallback.current, fallback.restart_current)
        for scale in (*self._scales(), *written, *own):
            if scale is not None and scale.fine is not None:
                yield scale.fine.place
        for scale in own:
            if scale is not None:
                yield scale.place
