"""The link to an EVSE controller on Modbus, by its register map."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.external.modbus.controller_map import ControllerMap
from evse_node.hal.external.modbus.registers import Scale, Write, all_hold
from evse_node.hal.modbus.bus import ModbusBus, Sleep
from evse_node.hal.modbus.bus_meter import BusMeter, MeterOnBus
from evse_node.hal.modbus.connection import ModbusSpec, load_pymodbus
from evse_node.hal.modbus.table import Address, Block
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

_OPEN: Final = ControllerOrders(must_open=True)


class ModbusEvse(Struct, frozen=True, kw_only=True):
    """One controller: its register map, address and options.

    `fallback_ma` is the current after `fallback_s` of silence, where the controller can be
    configured so; None leaves its own setting. `has_socket`: the controller's proximity pilot
    belongs to a cable in a socket.
    """

    registers: ControllerMap
    modbus: ModbusSpec
    phases: int = 3
    meter: MeterOnBus | None = None
    has_socket: bool = False
    fallback_ma: Milliamps | None = None
    fallback_s: float = 10.0


class ModbusEvseLink:
    """A `Link` over Modbus.

    Registers that keep what was written are read back with each status, which reveals a
    restart of the controller. Values that are in place already are only written to open.
    """

    def __init__(
        self,
        evse: ModbusEvse,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Reports a missing package at once.
        load_pymodbus("a Modbus EVSE controller")
        self._evse = evse
        self._map = evse.registers
        self._is_fallback_logged = False
        self._sleep = sleep
        self._bus: ModbusBus | None = None
        self._words: dict[Address, int] = {}
        self._pilot = PilotState.A
        self._orders: ControllerOrders | None = None
        self._kept: dict[Address, int] | None = None
        self._was_closed = self._has_restarted = self._has_failed = False
        self._meter = None if evse.meter is None else BusMeter(evse.meter, evse.phases, clock)

    @property
    def traits(self) -> LinkTraits:
        status = self._map.status
        return LinkTraits(
            faults=frozenset(sign.fault for sign in self._map.faults),
            has_meter=self._evse.meter is not None,
            has_thermometer=status.temperature is not None,
            has_proximity=self._evse.has_socket and status.cable is not None,
            heartbeat_s=self._heartbeat_s(),
            step_ma=self._step_ma(),
        )

    def _step_ma(self) -> int:
        """Return the finest step of the current."""
        supply = self._map.orders.supply
        finest = max((max(each.per_unit, each.fine_per_unit or 0) for each in supply), default=0)
        return max(1, round(1000 / finest)) if finest else 1_000

    def _heartbeat_s(self) -> float | None:
        writes = self._map.orders.all()
        repeats = [write.repeat_s for write in writes if write.repeat_s is not None]
        if repeats:
            return min(repeats)
        return None if self._map.fallback.after is None else self._evse.fallback_s / 3

    # Link

    async def open(self, wake: Callable[[], None]) -> None:
        """Open the port, check that the controller answers, and set its fallback."""
        await self.close()
        link = self._map.link
        self._bus = ModbusBus(
            self._evse.modbus,
            timeout_s=link.timeout_ms / 1000,
            pause_s=link.pause_ms / 1000,
            turnaround_s=link.turnaround_ms / 1000,
            has_single_writes=link.single_writes,
            sleep=self._sleep,
        )
        if self._meter is not None:
            self._meter.restart()
        await self._read(self._map.setup_blocks())
        await self._read(self._map.status_blocks())
        await self._set_fallback()

    async def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        self._orders = self._kept = None
        self._was_closed = self._has_restarted = self._has_failed = False
        self._words.clear()

    async def read_status(self) -> ControllerStatus:
        """Read the controller, answer its requests, and read the meter when it is due."""
        await self._read(self._map.status_blocks())
        # Kept until a complete status has reported it.
        has_restarted = self._has_restarted = self._has_lost_orders() or self._has_restarted
        if not has_restarted:
            await self._answer_requests()
        status, words = self._map.status, self._words
        pilot = self._pilot = status.pilot_states.state(status.pilot.bits(words), self._pilot)
        orders = self._orders
        if orders is not None and orders.is_unavailable and not self._map.orders.unavailable:
            # The controller cannot put state F on the pilot; it offers nothing instead.
            pilot = PilotState.F
        is_closed = all_hold(status.closed, words)
        if self._has_requested_again(pilot, is_closed):
            pilot = PilotState.B
        meter = None if self._meter is None else await self._meter.read(self._opened())
        self._has_restarted = False
        return ControllerStatus(
            pilot=pilot,
            is_closed=is_closed,
            faults=self._faults(has_restarted),
            is_enabled=None if status.enabled is None else all_hold(status.enabled, words),
            offered_ma=self._offered_ma(),
            limit_ma=status.limit_ma(words),
            ampacity_ma=status.ampacity_ma(words),
            temperature_millicelsius=(
                None if status.temperature is None else status.temperature.milli(words)
            ),
            meter=meter,
            has_restarted=has_restarted,
        )

    async def apply(self, orders: ControllerOrders) -> None:
        """Write the registers that differ; to open, all of them."""
        is_doubtful = orders == self._orders or self._has_failed or self._has_restarted
        if is_doubtful and not _is_urgent(orders):
            # A repeated order, or the first after silence: the controller may have restarted.
            await self._read(self._map.status_blocks())
            self._has_restarted = self._has_lost_orders() or self._has_restarted
            if self._has_restarted and orders.is_enabled:
                # The restart must be reported before the controller may close again.
                await self._carry_out(_OPEN)
                return
        self._has_failed = False
        self._orders = orders
        self._kept = None
        await self._carry_out(orders)

    async def _carry_out(self, orders: ControllerOrders) -> None:
        writes = self._writes(orders)
        if any(write.only_if is not None for write in writes):
            await self._read(self._map.status_blocks())
        for write in writes:
            if write.only_if is not None and not write.only_if.holds(self._words):
                continue
            word = self._word(write, orders)
            is_in_place = write.is_kept and self._words.get(write.address) == word
            if _is_urgent(orders) or not is_in_place:
                await self._write(write, word)

    async def keep_alive(self) -> None:
        """Repeat the writes that need it, or else send any request."""
        orders = self._orders
        has_written = False
        for write in () if orders is None else self._writes(orders):
            if write.repeat_s is not None and orders is not None:
                await self._write(write, self._word(write, orders))
                has_written = True
        if not has_written and self._map.fallback.after is not None:
            await self._read(self._map.status_blocks()[:1])

    async def self_test(self) -> None:
        """Raise HalError: these controllers have no self-test."""
        raise HalError(f"{self._map.name} has no self-test")

    # Orders

    def _writes(self, orders: ControllerOrders) -> tuple[Write, ...]:
        writes = self._map.orders
        if orders.is_unavailable and writes.unavailable:
            return writes.unavailable
        if orders.is_unavailable or orders.must_open:
            return writes.open or writes.rest
        return writes.supply if orders.is_enabled else writes.rest

    def _word(self, write: Write, orders: ControllerOrders) -> int:
        if write.value is not None:
            return write.value
        current_ma = orders.current_ma
        limit = self._map.status.limit
        if limit is not None and limit.address in self._words:
            current_ma = Milliamps(min(current_ma, limit.milli(self._words)))
        return write.word(current_ma, self._words)

    async def _write(self, write: Write, word: int) -> None:
        bus, unit = self._opened(), self._evse.modbus.unit
        address = write.address
        if write.broadcast_unit is None:
            try:
                await bus.write(address.table, address.number, word, unit)
            except HalError:
                self._has_failed = True
                raise
            self._words[address] = word
            return
        words = [0] * write.count
        words[unit - 1] = word
        await bus.broadcast(address.number, words, write.broadcast_unit)

    async def _answer_requests(self) -> None:
        """Write the registers that orders and state of the controller require."""
        orders = self._orders
        if orders is None:
            return
        for write in self._writes(orders):
            if write.only_if is not None and write.only_if.holds(self._words):
                await self._write(write, self._word(write, orders))

    def _has_lost_orders(self) -> bool:
        """Return whether a register has changed since the orders were given."""
        orders = self._orders
        if orders is None:
            return False
        kept = {
            write.address: self._words[write.address]
            for write in self._writes(orders)
            if write.is_kept
        }
        if self._kept is None:
            self._kept = kept
            return False
        if kept == self._kept:
            return False
        self._orders = self._kept = None
        return True

    def _has_requested_again(self, pilot: PilotState, is_closed: bool) -> bool:
        """Return whether the vehicle left state C since the last status, and is back.

        A controller that asks before it closes has then opened, and waits for the answer.
        """
        was_closed, self._was_closed = self._was_closed, is_closed
        orders = self._orders
        asks = any(write.only_if is not None for write in self._map.orders.supply)
        is_supplying = orders is not None and orders.is_enabled
        return asks and was_closed and not is_closed and is_supplying and pilot.is_ready

    # Reading

    def _faults(self, has_restarted: bool) -> frozenset[FaultState]:
        """Return the present faults. A restart counts as one in this status.

        It makes the machine start over, instead of taking the contactor for a failed one.
        """
        faults = {sign.fault for sign in self._map.faults if all_hold(sign.when, self._words)}
        return frozenset(faults | {FaultState.OTHER} if has_restarted else faults)

    def _opened(self) -> ModbusBus:
        if self._bus is None:
            raise HalError(f"{self._map.name} is not open")
        return self._bus

    async def _read(self, blocks: Iterable[Block]) -> None:
        bus, unit = self._opened(), self._evse.modbus.unit
        for block in blocks:
            try:
                words = await bus.read(block, unit)
            except HalError:
                self._has_failed = True
                raise
            for number, word in enumerate(words, block.start):
                self._words[Address(block.table, number)] = word

    def _offered_ma(self) -> Milliamps | None:
        """Return the current that is set; as ordered, where the register is coarser than that."""
        offered, orders = self._map.status.offered, self._orders
        if offered is None:
            return None
        if orders is None or not orders.is_enabled:
            return Milliamps(offered.milli(self._words))
        is_as_ordered = offered.bits(self._words) == offered.word(orders.current_ma, self._words)
        return orders.current_ma if is_as_ordered else Milliamps(offered.milli(self._words))

    # Fallback

    async def _set_fallback(self) -> None:
        evse, fallback = self._evse, self._map.fallback
        if fallback.after is not None:
            await self._store(fallback.after, round(evse.fallback_s * 1000))
        for scale in (fallback.current, fallback.restart_current):
            if scale is not None and evse.fallback_ma is not None:
                await self._store(scale, evse.fallback_ma)
        if not self._is_fallback_logged:
            self._is_fallback_logged = True
            has_timeout, text = fallback.describe(evse.fallback_s, self._words)
            level = logging.INFO if has_timeout else logging.WARNING
            _LOGGER.log(level, "%s %s", self._map.name, text)

    async def _store(self, scale: Scale, milli: int) -> None:
        """Write a persistent register, if it differs."""
        address = scale.address
        word = scale.word(milli, self._words)
        if self._words[address] != word:
            unit = self._evse.modbus.unit
            await self._opened().write(address.table, address.number, word, unit)
            self._words[address] = word


def _is_urgent(orders: ControllerOrders) -> bool:
    return orders.must_open or orders.is_unavailable
