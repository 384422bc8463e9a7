"""Driver of energy management: feeds events to `step`, sends orders to the charger, keeps time.

    appliance = Appliance(plant, features=frozenset({"PA", "PFR"}), epoch_s=clock)
    appliance.observers.append(on_change)        # called with (notifications, is_prompt, now)
    appliance.handle(PauseRequest(60, AdjustmentCause.GRID), now)
    ...
    appliance.on_timer(now)      # when the plant has changed or `next_deadline(now)` has come

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, Protocol, TypeAlias

from evse_node.energy_management.conditions import Conditions, Moment
from evse_node.energy_management.events import Notification
from evse_node.energy_management.forecast import Forecast
from evse_node.energy_management.requests import (
    ConditionsChanged,
    Event,
    PowerAdjustRequest,
    RequestRefusedError,
    TimePassed,
)
from evse_node.energy_management.state import (
    NO_ORDERS,
    EnergyState,
    Orders,
    next_deadline,
    orders,
)
from evse_node.energy_management.step import step
from evse_node.units import EpochSeconds, MilliwattHours

_LOGGER: Final = logging.getLogger(__name__)

_EVENTS_PER_TURN: Final = 100

Observer: TypeAlias = Callable[[tuple[Notification, ...], bool, float], None]
"""Called with the notifications of a turn, whether a request caused it, and the time."""


class Plant(Protocol):
    """The charger, as energy management uses it."""

    def conditions(self) -> Conditions:
        """Return the present conditions."""

    def apply(self, orders: Orders, now: float) -> None:
        """Replace the previous orders by these. May call `Appliance.on_timer`."""

    def meter_mwh(self) -> MilliwattHours:
        """Return the net energy to the vehicle, from any fixed start."""


class Appliance:
    """One appliance under energy management.

    `features` are codes of the cluster. `epoch_s` returns the wall clock in seconds, or None
    while it is unknown; the first forecast has the id after `first_id`.
    """

    def __init__(
        self,
        plant: Plant,
        *,
        features: frozenset[str],
        epoch_s: Callable[[], EpochSeconds | None],
        first_id: int = 0,
    ) -> None:
        self.observers: list[Observer] = []
        self._plant = plant
        self._epoch_s = epoch_s
        self._state = EnergyState(features, plant.conditions(), last_id=first_id)
        self._orders = NO_ORDERS
        self._queue: deque[Event] = deque()
        self._is_busy = False
        self._due_at = -inf

    @property
    def state(self) -> EnergyState:
        """The state of energy management."""
        return self._state

    @property
    def orders(self) -> Orders:
        """The last orders to the charger."""
        return self._orders

    def forecast(self) -> Forecast | None:
        """Return the forecast with its present progress."""
        return self._state.forecast_at(self._epoch_s())

    def handle(self, event: Event, now: float) -> None:
        """Process an event and its consequences.

        Raises RequestRefusedError for a request that is refused. An event from within
        `Plant.apply` is queued.
        """
        self._queue.append(event)
        if not self._is_busy:
            self._process_events(now)

    def on_timer(self, now: float) -> None:
        """Execute due actions, and process changed conditions. May be called at any time.

        Observers are called only if something was processed.
        """
        if self._is_busy or now >= self._due_at:
            self.handle(TimePassed(), now)
            return
        conditions = self._plant.conditions()
        if conditions != self._state.conditions:
            self.handle(ConditionsChanged(conditions), now)

    def next_deadline(self) -> float | None:
        """Return when to call `on_timer` next (monotonic seconds), or None."""
        return None if self._due_at == inf else self._due_at

    def _moment(self, event: Event, now: float) -> Moment:
        # Reading a meter takes time; only power adjustments need it.
        is_metered = self._state.adjustment is not None or isinstance(event, PowerAdjustRequest)
        meter_mwh = self._plant.meter_mwh() if is_metered else MilliwattHours(0)
        return Moment(now, self._epoch_s(), meter_mwh)

    def _process_events(self, now: float) -> None:
        self._is_busy = True
        notifications: list[Notification] = []
        is_prompt = False
        refusal: RequestRefusedError | None = None
        try:
            for _ in range(_EVENTS_PER_TURN):
                if not self._queue:
                    break
                event = self._queue.popleft()
                try:
                    self._process(event, now, notifications)
                except RequestRefusedError as error:
                    refusal = error
                else:
                    is_prompt |= not isinstance(event, TimePassed | ConditionsChanged)
                self._send_orders(now)
            else:
                _LOGGER.error("energy management does not settle; the remaining events are dropped")
        finally:
            self._queue.clear()
            self._is_busy = False
            due_at = next_deadline(self._state, now, self._epoch_s())
            self._due_at = inf if due_at is None else due_at
        for observer in self.observers:
            observer(tuple(notifications), is_prompt or bool(notifications), now)
        if refusal is not None:
            raise refusal

    def _process(self, event: Event, now: float, notifications: list[Notification]) -> None:
        events: list[Event] = []
        if not isinstance(event, ConditionsChanged):
            # Changed conditions and expired deadlines are processed before the event itself.
            conditions = self._plant.conditions()
            if conditions != self._state.conditions:
                events.append(ConditionsChanged(conditions))
            if not isinstance(event, TimePassed):
                events.append(TimePassed())
        if not isinstance(event, TimePassed) or now >= self._due_at:
            events.append(event)
        for each in events:
            self._state, new = step(self._state, each, self._moment(each, now))
            notifications += new

    def _send_orders(self, now: float) -> None:
        wanted = orders(self._state, self._epoch_s())
        if wanted != self._orders:
            self._orders = wanted
            self._plant.apply(wanted, now)
