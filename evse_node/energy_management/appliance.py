"""The driver of energy management: it feeds events, gives orders to the charger, keeps time.

    appliance = Appliance(plant, features=frozenset({"PA", "PFR"}), epoch_s=clock)
    appliance.observers.append(on_change)        # called with (notices, is_prompt, now)
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
"""Called with the notices of a turn, whether somebody asked for its changes, and the time."""


class Plant(Protocol):
    """The charger as energy management acts on it."""

    def conditions(self) -> Conditions:
        """Return how things stand."""

    def apply(self, orders: Orders, now: float) -> None:
        """Follow these orders instead of the ones before. May call `Appliance.on_timer`."""

    def meter_mwh(self) -> MilliwattHours:
        """Return the energy that went to the vehicle less what came from it, since whenever."""


class Appliance:
    """One appliance whose energy is managed.

    `features` are codes of the cluster. `epoch_s` returns the wall clock's seconds, or None
    while it is not known; `first_id` is less than the number of the first forecast.
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
        """All that is known."""
        return self._state

    @property
    def orders(self) -> Orders:
        """What the charger was told last."""
        return self._orders

    def forecast(self) -> Forecast | None:
        """Return the forecast with its progress until now."""
        return self._state.forecast_at(self._epoch_s())

    def handle(self, event: Event, now: float) -> None:
        """Take in an event and all that follows.

        Raises RequestRefusedError when it is a request that cannot be followed. Called out of
        `Plant.apply`, it waits for its turn.
        """
        self._queue.append(event)
        if not self._is_busy:
            self._work_off(now)

    def on_timer(self, now: float) -> None:
        """Do what is due, and what follows from a changed plant. May be called at any time.

        Observers are called only when there was something to do.
        """
        if self._is_busy or now >= self._due_at:
            self.handle(TimePassed(), now)
            return
        conditions = self._plant.conditions()
        if conditions != self._state.conditions:
            self.handle(ConditionsChanged(conditions), now)

    def next_deadline(self) -> float | None:
        """Return when `on_timer` wants to be called (monotonic seconds), or None."""
        return None if self._due_at == inf else self._due_at

    def _moment(self, event: Event, now: float) -> Moment:
        # To read a meter takes time; only power adjustments look at it.
        is_metered = self._state.adjustment is not None or isinstance(event, PowerAdjustRequest)
        meter_mwh = self._plant.meter_mwh() if is_metered else MilliwattHours(0)
        return Moment(now, self._epoch_s(), meter_mwh)

    def _work_off(self, now: float) -> None:
        self._is_busy = True
        notices: list[Notification] = []
        is_prompt = False
        refusal: RequestRefusedError | None = None
        try:
            for _ in range(_EVENTS_PER_TURN):
                if not self._queue:
                    break
                event = self._queue.popleft()
                try:
                    self._take_in(event, now, notices)
                except RequestRefusedError as error:
                    refusal = error
                else:
                    is_prompt |= not isinstance(event, TimePassed | ConditionsChanged)
                self._give_orders(now)
            else:
                _LOGGER.error("energy management does not come to rest; the rest is dropped")
        finally:
            self._queue.clear()
            self._is_busy = False
            due_at = next_deadline(self._state, now, self._epoch_s())
            self._due_at = inf if due_at is None else due_at
        for observer in self.observers:
            observer(tuple(notices), is_prompt or bool(notices), now)
        if refusal is not None:
            raise refusal

    def _take_in(self, event: Event, now: float, notices: list[Notification]) -> None:
        events: list[Event] = []
        if not isinstance(event, ConditionsChanged):
            # How things stand, and what is due, counts before anything else happens.
            conditions = self._plant.conditions()
            if conditions != self._state.conditions:
                events.append(ConditionsChanged(conditions))
            if not isinstance(event, TimePassed):
                events.append(TimePassed())
        if not isinstance(event, TimePassed) or now >= self._due_at:
            events.append(event)
        for each in events:
            self._state, told = step(self._state, each, self._moment(each, now))
            notices += told

    def _give_orders(self, now: float) -> None:
        wanted = orders(self._state, self._epoch_s())
        if wanted != self._orders:
            self._orders = wanted
            self._plant.apply(wanted, now)
