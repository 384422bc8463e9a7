"""Register maps of EVSE controllers in TOML: where to read the status, and how to write orders.

A register is a table with one of the keys `coil`, `discrete`, `input` and `holding`, its
address, and perhaps a `mask`. A condition is a register that `is` one of some values, or without
`is`, has any bit of the mask set.

    [status]
    pilot = { holding = 1002 }
    closed = [{ holding = 1007, mask = 0x01 }]

    [status.pilot-states]
    A = [1]
    B = [2]
    C = [3, 4]

    [orders]
    supply = [{ holding = 1000, per-ampere = 1 }]
    rest = [{ holding = 1000, value = 0 }]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from evse_node.config.reading import FieldError, TomlStruct, load_toml, unusable
from evse_node.errors import ConfigError, HalError
from evse_node.hal.external.modbus.registers import (
    Condition,
    Current,
    Duration,
    Register,
    Scale,
    Temperature,
    WordList,
    Words,
    Write,
)
from evse_node.hal.modbus.connection import ModbusSpec
from evse_node.hal.modbus.meter import RegisterMap
from evse_node.hal.modbus.table import Block, group_reads
from evse_node.state_machine.control_pilot import MAXIMUM_OFFER_MA, MINIMUM_OFFER_MA, PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

CONTROLLERS: Final = Path(__file__).parent / "controllers"

_Conditions = Annotated[
    tuple[Condition, ...],
    Meta(min_length=1, description="conditions like [{ holding = 7, mask = 1 }]"),
]
_Writes = Annotated[
    tuple[Write, ...],
    Meta(min_length=1, description="a list of writes like [{ coil = 400, value = 1 }]"),
]
_FAULTS: Final = "one of " + ", ".join(
    fault.value for fault in FaultState if fault is not FaultState.NO_ERROR
)
_FaultState = Annotated[FaultState, Meta(description=_FAULTS)]


class Link(TomlStruct, frozen=True, kw_only=True):
    """Table `[link]`: defaults of the connection, and the controller's timing."""

    baud: Annotated[int, Meta(ge=1_200, le=115_200)] = 9_600
    parity: Literal["N", "E", "O"] = "N"
    tcp_port: Annotated[int, Meta(ge=1, le=65_535)] = 502
    unit: Annotated[int, Meta(ge=1, le=247)] = 1
    pause_ms: Annotated[float, Meta(ge=0, le=5_000)] = 0
    turnaround_ms: Annotated[float, Meta(ge=0, le=5_000)] = 100
    timeout_ms: Annotated[float, Meta(ge=50, le=10_000)] = 1_000
    single_writes: bool = False

    def modbus_spec(self) -> ModbusSpec:
        """Return the defaults of the connection."""
        return ModbusSpec(
            baud=self.baud, parity=self.parity, tcp_port=self.tcp_port, unit=self.unit
        )


class PilotStates(TomlStruct, frozen=True, kw_only=True):
    """Values of the pilot's register, by state. Those of `keep` leave the state unchanged."""

    A: WordList
    B: WordList
    C: WordList
    D: WordList = ()
    E: WordList = ()
    F: WordList = ()
    keep: WordList = ()

    def __post_init__(self) -> None:
        found: dict[int, PilotState] = {}
        for word, state in self._pairs():
            if word in found:
                raise FieldError(state.value, f"{word} means state {found[word].value} already")
            found[word] = state

    def _pairs(self) -> list[tuple[int, PilotState]]:
        return [(word, state) for state in PilotState for word in getattr(self, state.value)]

    def state(self, word: int, before: PilotState) -> PilotState:
        """Return the state that a value means. Raises HalError for an unknown value."""
        if word in self.keep:
            return before
        for value, state in self._pairs():
            if value == word:
                return state
        raise HalError(f"unknown value of the pilot: {word}")


class Status(TomlStruct, frozen=True, kw_only=True):
    """Table `[status]`: the registers read in each poll."""

    pilot: Register
    pilot_states: PilotStates
    closed: _Conditions
    enabled: _Conditions | None = None
    offered: Current | None = None
    limit: Current | None = None
    cable: Current | None = None
    temperature: Temperature | None = None

    def limit_ma(self, words: Words) -> Milliamps | None:
        """Return the highest current that the controller accepts, None if that is 80 A or more.

        Less than 6 A means no current at all.
        """
        current_ma = MAXIMUM_OFFER_MA if self.limit is None else self.limit.milli(words)
        return Milliamps(max(0, current_ma)) if current_ma < MAXIMUM_OFFER_MA else None

    def ampacity_ma(self, words: Words) -> Milliamps | None:
        """Return the cable's ampacity; values outside of 6 to 80 A mean that there is no cable."""
        if self.cable is None:
            return None
        current_ma = self.cable.milli(words)
        is_cable = MINIMUM_OFFER_MA <= current_ma <= MAXIMUM_OFFER_MA
        return Milliamps(current_ma) if is_cable else None


class FaultSign(TomlStruct, frozen=True, kw_only=True):
    """A fault is present while all conditions hold."""

    fault: _FaultState
    when: _Conditions

    def __post_init__(self) -> None:
        if self.fault is FaultState.NO_ERROR:
            raise unusable("fault", self.fault.value, _FAULTS)


class Orders(TomlStruct, frozen=True, kw_only=True):
    """Table `[orders]`: the writes for each order.

    `supply`: PWM, and the contactor closed as soon as the vehicle is ready. `rest`: X1, and the
    contactor open when the vehicle has ended its current. `open`: open at once; without it, as
    `rest`. `unavailable`: state F; without it, as `open`.
    """

    supply: _Writes
    rest: _Writes
    open: tuple[Write, ...] = ()
    unavailable: tuple[Write, ...] = ()

    def all(self) -> tuple[Write, ...]:
        return (*self.supply, *self.rest, *self.open, *self.unavailable)


class Fallback(TomlStruct, frozen=True, kw_only=True):
    """Table `[fallback]`: the controller's reaction to missing requests.

    `after_s` and `current_a` are fixed; `after` and `current` are registers for them, and
    `restart_current` that of the current after a restart. Such registers may be in memory that
    wears out, and are only written when they differ.
    """

    after_s: Annotated[float, Meta(ge=0.1, le=86_400)] | None = None
    current_a: Annotated[float, Meta(ge=0, le=80)] | None = None
    after: Duration | None = None
    current: Current | None = None
    restart_current: Current | None = None

    def scales(self) -> list[Scale]:
        found = (self.after, self.current, self.restart_current)
        return [scale for scale in found if scale is not None]

    def describe(self, configured_s: float, words: Words) -> tuple[bool, str]:
        """Return whether the controller notices silence, and a sentence about its fallback."""
        text = "has no communication timeout: it continues with its last orders without this node"
        has_timeout = self.after_s is not None or self.after is not None
        if has_timeout:
            after_s = self.after_s if self.after is None else configured_s
            current_a = self.current_a
            if self.current is not None:
                current_a = self.current.milli(words) / 1000
            text = f"falls back to {current_a} A after {after_s} s without this node"
        if self.restart_current is not None:
            text += f"; offers {self.restart_current.milli(words) / 1000:g} A after its own restart"
        return has_timeout, text


class ControllerMap(TomlStruct, frozen=True, kw_only=True):
    """Register map of one controller.

    Reads may include up to `max_gap` unused registers between two used ones.
    """

    name: Annotated[str, Meta(min_length=1)]
    document: Annotated[str, Meta(min_length=1, description="the document of the registers")]
    firmware: Annotated[str, Meta(min_length=1, description="the firmware with these registers")]
    max_gap: Annotated[int, Meta(ge=0, le=32)] = 0
    maximum_current_a: Annotated[float, Meta(ge=6, le=80)] = 80
    link: Link
    status: Status
    faults: tuple[FaultSign, ...] = ()
    orders: Orders
    fallback: Fallback = Fallback()
    meter: RegisterMap | None = None

    def status_blocks(self) -> list[Block]:
        """Return the reads of one status, as few as the gaps allow."""
        return group_reads((each.address for each in self._status_registers()), self.max_gap)

    def setup_blocks(self) -> list[Block]:
        """Return the reads of registers that do not change while the controller runs."""
        return group_reads((each.address for each in self._setup_registers()), self.max_gap)

    def _scales(self) -> list[Scale]:
        status = self.status
        found = (status.offered, status.limit, status.cable, status.temperature)
        return [scale for scale in found if scale is not None]

    def _status_registers(self) -> Iterator[Register]:
        status = self.status
        yield status.pilot
        yield from status.closed
        yield from status.enabled or ()
        for sign in self.faults:
            yield from sign.when
        yield from self._scales()
        for write in self.orders.all():
            if write.only_if is not None:
                yield write.only_if
            elif write.is_kept:
                # Read back, to notice that the controller restarted.
                yield write

    def _setup_registers(self) -> Iterator[Register]:
        stored = self.fallback.scales()
        for scale in (*self._scales(), *self.orders.all(), *stored):
            if scale.fine_if is not None:
                yield scale.fine_if
        yield from stored


def controller_names() -> list[str]:
    """Return the names of the shipped maps."""
    return sorted(file.stem for file in CONTROLLERS.glob("*.toml"))


def load_controller(name: str) -> ControllerMap:
    """Load a shipped map by name, or any by its file. Raises ConfigError."""
    names = controller_names()
    file = CONTROLLERS / f"{name}.toml" if name in names else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"hal.controller: '{name}' is no file: give one, or one of {', '.join(names)}"
        )
    return load_toml(file, ControllerMap)
