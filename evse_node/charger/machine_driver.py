"""Driver of the state machine: a queue of events, and execution of the orders.

Safety orders are executed first; the contactor is not closed while a fault is queued.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from evse_node.charger.hardware import DummyHardware, Hardware
from evse_node.state_machine.effects import (
    BaseOrder,
    CloseContactor,
    ClosingsLimited,
    Effect,
    SafetyOrder,
)
from evse_node.state_machine.events import CausesObserved, Event, FaultRaised
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.outputs import with_closing_cancelled
from evse_node.state_machine.state import EvseState

_LOGGER: Final = logging.getLogger(__name__)

# The source of these events has logged the reason; other faults are found by the machine.
_EXTERNAL_FAULTS: Final = (FaultRaised, CausesObserved)

_MAXIMUM_EVENTS: Final = 1000


class MachineDriver:
    """The machine's `state`, the `hardware` that executes its orders, and the queue of events."""

    def __init__(self, hardware: Hardware, state: EvseState) -> None:
        self.hardware = hardware
        self.state = state
        self._queue: deque[Event] = deque()

    def add(self, events: Iterable[Event]) -> None:
        """Append events to the queue."""
        self._queue.extend(events)

    def process_events(
        self, next_event: Callable[[float], Event | None], now: float
    ) -> Iterator[tuple[Event, tuple[Effect, ...]]]:
        """Process the queue with all events that follow, then those of `next_event` until None."""
        for _ in range(_MAXIMUM_EVENTS):
            event = self._queue.popleft() if self._queue else next_event(now)
            if event is None:
                return
            yield event, self._step(event, now)
        _LOGGER.error("endless events: the queue is dropped, and power is cut")
        self._queue.clear()
        fault = FaultRaised(FaultState.OTHER)
        yield fault, self._step(fault, now)
        self._queue.clear()

    def _step(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Run one step and execute its orders; their feedback goes to the queue."""
        before = self.state.faults
        self.state, effects = step(self.state, event, now)
        if self.state.faults is not before and not isinstance(event, _EXTERNAL_FAULTS):
            self._log_faults(before, event)
        if not effects:
            return effects
        for effect in effects:
            if isinstance(effect, ClosingsLimited):
                _LOGGER.warning(
                    "the contactor closed too often in a minute; open for %.0f s", effect.pause_s
                )
        orders = [effect for effect in effects if isinstance(effect, BaseOrder)]
        orders.sort(key=lambda order: not isinstance(order, SafetyOrder))
        for order in orders:
            if isinstance(order, CloseContactor) and self._is_fault_queued:
                # The fault would open it again at once.
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
    def _is_fault_queued(self) -> bool:
        """True while the queue holds a fault."""
        return any(
            isinstance(event, FaultRaised) or (isinstance(event, CausesObserved) and event.faults)
            for event in self._queue
        )
