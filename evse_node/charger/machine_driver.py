"""One step of the machine after another: events wait in line, and orders bring about more.

An order that makes things safer is given first; the contactor is not told to close while a
fault waits to be taken in.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from evse_node.charger.hardware import DummyHardware, Hardware
from evse_node.state_machine.effects import BaseOrder, CloseContactor, Effect, SafetyOrder
from evse_node.state_machine.events import CausesObserved, Event, FaultRaised
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.outputs import with_closing_cancelled
from evse_node.state_machine.state import EvseState

_LOGGER: Final = logging.getLogger(__name__)

# Who gives these has logged the reason; faults by other events are the machine's own.
_GIVEN_FAULTS: Final = (FaultRaised, CausesObserved)

_EVENTS_PER_TURN: Final = 1000


class MachineDriver:
    """The machine's `state`, the `hardware` that follows its orders, and what waits for it."""

    def __init__(self, hardware: Hardware, state: EvseState) -> None:
        self.hardware = hardware
        self.state = state
        self._queue: deque[Event] = deque()

    def add(self, events: Iterable[Event]) -> None:
        """Let these events wait for their turn."""
        self._queue.extend(events)

    def process_events(
        self, look: Callable[[float], Event | None], now: float
    ) -> Iterator[tuple[Event, tuple[Effect, ...]]]:
        """Step through all that waits, what it brings about, and then what `look` finds."""
        for _ in range(_EVENTS_PER_TURN):
            event = self._queue.popleft() if self._queue else look(now)
            if event is None:
                return
            yield event, self._step(event, now)
        _LOGGER.error("events do not come to an end; the rest is dropped, and power is cut")
        self._queue.clear()
        fault = FaultRaised(FaultState.OTHER)
        yield fault, self._step(fault, now)
        self._queue.clear()

    def _step(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take one step and give its orders; what they bring about goes to the queue."""
        before = self.state.faults
        self.state, effects = step(self.state, event, now)
        if self.state.faults is not before and not isinstance(event, _GIVEN_FAULTS):
            self._log_faults(before, event)
        if not effects:
            return effects
        orders = [effect for effect in effects if isinstance(effect, BaseOrder)]
        orders.sort(key=lambda order: not isinstance(order, SafetyOrder))
        for order in orders:
            if isinstance(order, CloseContactor) and self._is_fault_waiting:
                # It would be opened again a moment later.
                self.state = with_closing_cancelled(self.state)
                continue
            self._queue.extend(self.hardware.execute(order))
        return effects

    def _log_faults(self, before: tuple[FaultState, ...], event: Event) -> None:
        if isinstance(self.hardware, DummyHardware):
            return
        for fault in self.state.faults:
            if fault not in before:
                _LOGGER.error("fault %s: %s", fault.value, event)

    @property
    def _is_fault_waiting(self) -> bool:
        """True when an order, or what came before it, brought about a fault not yet taken in."""
        return any(
            isinstance(event, FaultRaised) or (isinstance(event, CausesObserved) and event.faults)
            for event in self._queue
        )
