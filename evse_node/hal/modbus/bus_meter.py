"""A meter on the bus of a controller, read between its polls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.interface import MeterValues
from evse_node.hal.modbus.bus import ModbusBus
from evse_node.hal.modbus.meter import RegisterMap

_LOGGER: Final = logging.getLogger(__name__)


class MeterOnBus(Struct, frozen=True):
    """A meter on the controller's bus, or in the controller, read every `every_s`.

    After a failure it is skipped for `retry_s`, so that it does not delay the controller; its
    last values are valid for `limit_s`.
    """

    registers: RegisterMap
    unit: int
    every_s: float = 1.0
    retry_s: float = 2.0
    limit_s: float = 6.0

    @property
    def phases(self) -> int:
        """Number of phases that the meter measures."""
        return len(self.registers.quantities.current_a.registers)


class BusMeter:
    """Reader of a meter's first `phases` phases. `clock` returns monotonic seconds."""

    def __init__(self, meter: MeterOnBus, phases: int, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._phases = phases
        self._clock = clock
        self._values: MeterValues | None = None
        self._words: dict[int, int] = {}
        self._blocks_read = 0
        self._due_at = self._heard_at = -inf
        self._is_failing = False

    def restart(self) -> None:
        """Read all blocks again, at once."""
        self._due_at = -inf
        self._blocks_read = 0

    async def read(self, bus: ModbusBus) -> MeterValues | None:
        """Return the newest values, None when they are too old.

        Each call reads one block, so that an order never waits for the whole meter; the first
        one reads all.
        """
        meter, now = self._meter, self._clock()
        if now - self._heard_at > meter.limit_s:
            self._values = None
        if now < self._due_at:
            return self._values
        try:
            if not await self._read_blocks(bus):
                return self._values
            values = meter.registers.values(self._words)
        except HalError as error:
            if not self._is_failing:
                _LOGGER.warning("the meter does not answer: %s", error)
            self._is_failing = True
            self._blocks_read = 0
            # From now: the attempt itself took time.
            self._due_at = self._clock() + meter.retry_s
            return self._values
        if self._is_failing:
            _LOGGER.info("the meter answers again")
        self._is_failing = False
        self._due_at, self._heard_at = now + meter.every_s, now
        self._values = replace(
            values,
            voltages_mv=values.voltages_mv[: self._phases],
            currents_ma=values.currents_ma[: self._phases],
        )
        return self._values

    async def _read_blocks(self, bus: ModbusBus) -> bool:
        """Read the next block. Return whether all blocks are read."""
        blocks = self._meter.registers.blocks()
        while self._blocks_read < len(blocks):
            block = blocks[self._blocks_read]
            words = await bus.read(block, self._meter.unit)
            self._words.update(enumerate(words, block.start))
            self._blocks_read += 1
            if self._values is not None and self._blocks_read < len(blocks):
                return False
        self._blocks_read = 0
        return True
