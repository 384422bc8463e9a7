"""The link to an EVSE controller on Modbus, whatever its register map is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.external.modbus.registers import (
    ControllerMap,
    Scale,
    Target,
    Write,
)
from evse_node.hal.modbus.bus import ModbusBus, Sleep
from evse_node.hal.modbus.bus_meter import BusMeter, MeterOnBus
from evse_node.hal.modbus.connection import ModbusSpec, load_pymodbus
from evse_node.hal.modbus.table import Address, Block
from evse_node.state_machine.control_pilot import MAXIMUM_OFFER_MA, MINIMUM_OFFER_MA, PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

_OPEN: Final = ControllerOrders(must_open=True)
_INSTEAD: Final = {Target.UNAVAILABLE: Target.OPEN, Target.OPEN: Target.REST}


class ModbusEvse(Struct, frozen=True, kw_only=True):
    """One controller: what it is, how to reach it, and what it is to fall back to.

    `fallback_ma` None leaves the controller's own setting. It counts after `fallback_s` of
    silence, where the controller can be told so. `has_socket`: what the controller tells of
    its proximity pilot is a cable in a socket.
    """

    chart: ControllerMap
    modbus: ModbusSpec
    phases: int = 3
    meter: MeterOnBus | None = None
    has_socket: bool = False
    fallback_ma: Milliamps | None = None
    fallback_s: float = 10.0


class ModbusEvseLink:
    """A `Link`.

    Registers that keep what is written are read back with each status: a controller that has
    forgotten is noticed, and nothing is written that is there already, except to open.
    """

    def __init__(
        self,
        evse: ModbusEvse,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A package that is missing is told at once.
        load_pymodbus("a Modbus EVSE controller")
        self._evse = evse
        self._is_fallback_told = False
        self._chart = evse.chart
        self._sleep = sleep
        self._bus: ModbusBus | None = None
        self._words: dict[Address, int] = {}
        self._pilot = PilotState.A
        self._orders: ControllerOrders | None = None
        self._kept: dict[Address, int] = {}
        self._is_kept_known = False
        self._was_closed = self._has_restarted = self._has_failed = False
        self._meter = None if evse.meter is None else BusMeter(evse.meter, evse.phases, clock)

    @property
    def traits(self) -> LinkTraits:
        """What the map and the configuration say."""
        chart = self._chart
        return LinkTraits(
            faults=frozenset(sign.fault for sign in chart.faults),
            has_meter=self._evse.meter is not None,
            has_thermometer=chart.temperature is not None,
            has_proximity=self._evse.has_socket and chart.cable is not None,
            heartbeat_s=self._heartbeat_s(),
            step_ma=self._step_ma(),
        )

    def _step_ma(self) -> int:
        """Return the finest step that any of its currents may have."""
        scales = (
            write.value
            for write in self._chart.orders[Target.SUPPLY]
            if isinstance(write.value, Scale)
        )
        finest = max((max(scale.per_unit, scale.fine_per_unit) for scale in scales), default=1)
        return max(1, round(1000 / finest))

    def _heartbeat_s(self) -> float | None:
        repeats = [
            write.repeat_s
            for writes in self._chart.orders.values()
            for write in writes
            if write.repeat_s is not None
        ]
        if repeats:
            return min(repeats)
        return None if self._chart.fallback.after is None else self._evse.fallback_s / 3

    # Link

    async def open(self, wake: Callable[[], None]) -> None:
        """Take the port, see that the controller answers, and set its fallback."""
        await self.close()
        chart, link = self._chart, self._evse.modbus
        self._bus = ModbusBus(
            link,
            timeout_s=chart.timeout_s,
            pause_s=chart.pause_s,
            turnaround_s=chart.turnaround_s,
            has_single_writes=chart.has_single_writes,
            sleep=self._sleep,
        )
        if self._meter is not None:
            self._meter.begin()
        await self._read(chart.setup_blocks())
        await self._read(chart.status_blocks())
        await self._set_fallback()

    async def close(self) -> None:
        """Let go of the port."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        self._orders = None
        self._was_closed = self._has_restarted = self._is_kept_known = False
        self._has_failed = False
        self._kept.clear()
        self._words.clear()

    async def read_status(self) -> ControllerStatus:
        """Read the controller, answer what it asks for, and read its meter now and then."""
        chart = self._chart
        await self._read(chart.status_blocks())
        # Kept until a whole status has told it.
        has_restarted = self._has_restarted = self._has_forgotten() or self._has_restarted
        if not has_restarted:
            await self._answer()
        words = self._words
        pilot_word = words[chart.pilot.address] & chart.pilot.mask
        if pilot_word not in chart.pilot_kept:
            if pilot_word not in chart.pilot_states:
                raise HalError(f"{chart.name} tells {pilot_word} as its pilot's state")
            self._pilot = chart.pilot_states[pilot_word]
        pilot = self._pilot
        orders = self._orders
        if orders is not None and orders.is_unavailable and Target.UNAVAILABLE not in chart.orders:
            # It cannot put state F on the pilot; it offers nothing instead.
            pilot = PilotState.F
        is_closed = all(condition.holds(words) for condition in chart.closed)
        if self._has_asked_anew(pilot, is_closed):
            pilot = PilotState.B
        temperature = chart.temperature
        meter = None if self._meter is None else await self._meter.read(self._opened())
        self._has_restarted = False
        return ControllerStatus(
            pilot=pilot,
            is_closed=is_closed,
            faults=self._faults(has_restarted),
            is_enabled=(
                all(condition.holds(words) for condition in chart.enabled)
                if chart.enabled
                else None
            ),
            offered_ma=self._offered_ma(),
            limit_ma=self._limit_ma(),
            ampacity_ma=self._ampacity_ma(),
            temperature_millicelsius=None if temperature is None else temperature.milli(words),
            meter=meter,
            has_restarted=has_restarted,
        )

    async def apply(self, orders: ControllerOrders) -> None:
        """Write what is not as it is wanted; to open, whatever it is."""
        is_urgent = orders.must_open or orders.is_unavailable
        is_doubtful = orders == self._orders or self._has_failed or self._has_restarted
        if is_doubtful and not is_urgent:
            # Said again, or after it was silent: perhaps it was restarting.
            await self._read(self._chart.status_blocks())
            self._has_restarted = self._has_forgotten() or self._has_restarted
            if self._has_restarted and orders.is_enabled:
                # That is to be heard of before it may close again.
                await self._carry_out(_OPEN)
                return
        self._has_failed = self._is_kept_known = False
        self._orders = orders
        self._kept.clear()
        await self._carry_out(orders)

    async def _carry_out(self, orders: ControllerOrders) -> None:
        is_urgent = orders.must_open or orders.is_unavailable
        writes = self._wanted(orders)
        if any(write.only_if is not None for write in writes):
            await self._read(self._chart.status_blocks())
        for write in writes:
            if write.only_if is not None and not write.only_if.holds(self._words):
                continue
            word = self._word(write, orders)
            if is_urgent or not write.is_kept or self._words.get(write.address) != word:
                await self._write(write, word)

    async def keep_alive(self) -> None:
        """Say again what has to be said again."""
        orders = self._orders
        has_spoken = False
        for write in () if orders is None else self._wanted(orders):
            if write.repeat_s is not None and orders is not None:
                await self._write(write, self._word(write, orders))
                has_spoken = True
        if not has_spoken and self._chart.fallback.after is not None:
            # Any request tells it that somebody is there.
            await self._read(self._chart.status_blocks()[:1])

    async def self_test(self) -> None:
        """No controller of this kind has one."""
        raise HalError(f"{self._chart.name} has no self-test")

    # Orders

    def _wanted(self, orders: ControllerOrders) -> tuple[Write, ...]:
        target: Target | None = Target.REST
        if orders.is_unavailable:
            target = Target.UNAVAILABLE
        elif orders.must_open:
            target = Target.OPEN
        elif orders.is_enabled:
            target = Target.SUPPLY
        while target is not None and target not in self._chart.orders:
            target = _INSTEAD.get(target)
        return () if target is None else self._chart.orders[target]

    def _word(self, write: Write, orders: ControllerOrders) -> int:
        if not isinstance(write.value, Scale):
            return write.value
        current_ma = orders.current_ma
        limit = self._chart.limit
        if limit is not None and limit.place.address in self._words:
            current_ma = Milliamps(min(current_ma, limit.milli(self._words)))
        return write.value.word(current_ma, self._words)

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

    async def _answer(self) -> None:
        """Write what the controller's state calls for, as long as the orders are these."""
        orders = self._orders
        if orders is None:
            return
        for write in self._wanted(orders):
            if write.only_if is not None and write.only_if.holds(self._words):
                await self._write(write, self._word(write, orders))

    def _has_forgotten(self) -> bool:
        """Tell whether a register changed since the orders were given."""
        orders = self._orders
        if orders is None:
            return False
        now = {
            write.address: self._words[write.address]
            for write in self._wanted(orders)
            if write.is_kept
        }
        if not self._is_kept_known:
            self._kept, self._is_kept_known = now, True
            return False
        if now == self._kept:
            return False
        self._orders = None
        self._is_kept_known = False
        return True

    def _has_asked_anew(self, pilot: PilotState, is_closed: bool) -> bool:
        """Tell whether the vehicle has left state C since the status before, and is back.

        A controller that asks before it closes has then opened, and waits to be answered.
        """
        was_closed, self._was_closed = self._was_closed, is_closed
        orders = self._orders
        asks = any(write.only_if is not None for write in self._chart.orders[Target.SUPPLY])
        is_supplying = orders is not None and orders.is_enabled
        return asks and was_closed and not is_closed and is_supplying and pilot.is_ready

    # Reading

    def _faults(self, has_restarted: bool) -> frozenset[FaultState]:
        """Return what is wrong. To have restarted is, for the moment.

        So the machine begins anew, instead of taking the contactor for one that has failed.
        """
        faults = {
            sign.fault
            for sign in self._chart.faults
            if all(condition.holds(self._words) for condition in sign.conditions)
        }
        return frozenset(faults | {FaultState.OTHER} if has_restarted else faults)

    def _opened(self) -> ModbusBus:
        if self._bus is None:
            raise HalError(f"{self._chart.name} is not open")
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

    def _limit_ma(self) -> Milliamps | None:
        """Return the highest current that it takes; less than 6 A means none at all."""
        scale = self._chart.limit
        current_ma = MAXIMUM_OFFER_MA if scale is None else scale.milli(self._words)
        return Milliamps(max(0, current_ma)) if current_ma < MAXIMUM_OFFER_MA else None

    def _ampacity_ma(self) -> Milliamps | None:
        """Return what the cable carries; what no cable carries means that there is none."""
        scale = self._chart.cable
        if scale is None:
            return None
        current_ma = scale.milli(self._words)
        is_cable = MINIMUM_OFFER_MA <= current_ma <= MAXIMUM_OFFER_MA
        return Milliamps(current_ma) if is_cable else None

    def _offered_ma(self) -> Milliamps | None:
        """Return what is set; what was ordered, where the register cannot say it finer."""
        scale, orders = self._chart.offered, self._orders
        if scale is None:
            return None
        if orders is not None and orders.is_enabled:
            word = self._words[scale.place.address] & scale.place.mask
            if word == scale.word(orders.current_ma, self._words):
                return orders.current_ma
        return Milliamps(scale.milli(self._words))

    # Fallback

    async def _set_fallback(self) -> None:
        evse = self._evse
        fallback, wanted_ma = self._chart.fallback, evse.fallback_ma
        if fallback.after is not None:
            await self._store(fallback.after, round(evse.fallback_s * 1000))
        for scale in (fallback.current, fallback.restart_current):
            if scale is not None and wanted_ma is not None:
                await self._store(scale, wanted_ma)
        if not self._is_fallback_told:
            self._is_fallback_told = True
            _log_fallback(self._chart, evse.fallback_s, self._words)

    async def _store(self, scale: Scale, milli: int) -> None:
        """Write a register that is kept for good, if it differs."""
        address = scale.place.address
        word = scale.word(milli, self._words)
        if self._words[address] != word:
            unit = self._evse.modbus.unit
            await self._opened().write(address.table, address.number, word, unit)
            self._words[address] = word


def _log_fallback(chart: ControllerMap, fallback_s: float, words: Mapping[Address, int]) -> None:
    """Log what a controller does should this node die.

    `fallback_s` is after which silence, where it is told that; `words` is what it keeps.
    """
    fallback = chart.fallback
    if fallback.has_timeout:
        after_s = fallback_s if fallback.after is not None else fallback.after_s
        current_ma = fallback.current_ma
        if fallback.current is not None:
            current_ma = Milliamps(fallback.current.milli(words))
        _LOGGER.info(
            "%s falls back to %s mA after %s s without this node",
            chart.name,
            current_ma,
            after_s,
        )
    else:
        _LOGGER.warning(
            "%s goes on with its last orders should this node die: it knows no timeout",
            chart.name,
        )
    if fallback.restart_current is not None:
        _LOGGER.info(
            "%s offers %d mA after a restart of its own",
            chart.name,
            fallback.restart_current.milli(words),
        )
