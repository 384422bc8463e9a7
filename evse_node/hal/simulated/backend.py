"""The simulated backend: a board with an electric vehicle connected.

In a node, `start` runs it in the event loop. In a test, create it with a clock, `attach` an
inbox and call `advance`:

    backend = SimulatedBackend(clock=lambda: now)
    backend.attach(events.append)
    backend.plug_in()
    backend.demand()

The vehicle's time may run faster than the clock (`speed`), which affects energy, battery and
habits, but not pilot and contactor.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final, TypedDict

from msgspec.structs import replace

from evse_node.hal.interface import CurrentDerated, HalEvent, HalInbox, Ratings, SurplusReported
from evse_node.hal.simulated.board import SimulatedBoard
from evse_node.hal.simulated.electric_vehicle import ElectricCar
from evse_node.state_machine.events import BatteryReported, RfidTapped, VehicleIdentified
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, MilliwattHours, Milliwatts

# Events that belong to a feature
_FEATURE_EVENTS: Final[Mapping[str, type[HalEvent]]] = {
    "RFID": RfidTapped,
    "SOC": BatteryReported,
    "PNC": VehicleIdentified,
}
# Lower limit of the timer, at any speed.
_SHORTEST_TICK_S: Final = 0.05


class SimulationStatus(TypedDict):
    """State of board and vehicle; names end with units."""

    pilot: str
    output: str
    offered_ma: int
    contactor: str
    is_locked: bool
    cable_ma: int | None
    is_plugged_in: bool
    wants_energy: bool
    power_mw: int
    current_ma: int
    soc_percent: int
    capacity_mwh: int
    imported_mwh: int
    exported_mwh: int
    simulated_ms: int
    speed: float
    temperature_mc: int


class SimulatedBackend:
    """An `EvseBackend` without hardware, and without the features named by `without`.

    `has_grid_meter`: the charger reads a meter at the grid connection. A `car` may be plugged in
    already, with the cable in the socket.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        speed: float = 1.0,
        ratings: Ratings | None = None,
        cable_ma: Milliamps = Milliamps(32_000),  # noqa: B008 - an int
        car: ElectricCar | None = None,
        without: frozenset[str] = frozenset(),
        has_grid_meter: bool = False,
    ) -> None:
        self.ratings = ratings or Ratings(maximum_discharge_current_ma=Milliamps(32_000))
        self.car = car or ElectricCar()
        self.cable_ma = cable_ma
        self._clock = clock
        self._speed = speed
        self.ratings = replace(self.ratings, time_scale=speed)
        self._anchor = clock()
        self._anchor_ms = self.car.now_ms
        self._is_advancing = False
        self._due_at = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.board = board = SimulatedBoard(
            self.car, self.ratings, clock, on_order=self.advance, on_read=self._on_read
        )
        if self.car.is_plugged_in:
            board.cable_ma = cable_ma

        self.control_pilot = board
        self.contactor = board
        self.proximity_pilot = board
        self.lock = board
        self.meter = board
        self.grid_meter = board if has_grid_meter else None
        self.residual_current_device = board
        self.temperature_sensor = board
        self.self_test = board
        self.rfid_reader = None if "RFID" in without else board
        self.discharger = None if "V2X" in without else board
        self.battery_information = None if "SOC" in without else board
        self.vehicle_identification = None if "PNC" in without else board
        self._missing_events = tuple(
            event for feature, event in _FEATURE_EVENTS.items() if feature in without
        )

    # EvseBackend

    async def start(self, post: HalInbox) -> None:
        self._loop = asyncio.get_running_loop()
        self.attach(post)

    async def stop(self) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.board.connect(None)
        self.board.withdraw()
        self.board.open()
        self.board.finish_opening()

    def attach(self, post: HalInbox) -> None:
        """Post events to an inbox; the caller advances the time."""

        def post_available(event: HalEvent) -> None:
            if not isinstance(event, self._missing_events):
                post(event)

        self.board.connect(post_available)
        self.advance()

    # Time

    @property
    def speed(self) -> float:
        """Speed of the vehicle's time, in relation to the clock."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"speed {speed} is not above 0")
        self.advance()
        self._anchor, self._anchor_ms = self._clock(), self.car.now_ms
        self._speed = speed
        self.ratings = replace(self.ratings, time_scale=speed)
        self.advance()

    def next_deadline(self) -> float | None:
        """Return when to call `advance` (clock seconds), or None when nothing is pending."""
        deadlines = []
        board = self.board.next_deadline()
        if board is not None:
            deadlines.append(board)
        car_ms = self.car.next_change_ms()
        if car_ms is not None:
            wait_s = (car_ms - self.car.now_ms) / 1000 / self._speed
            deadlines.append(self._clock() + max(wait_s, _SHORTEST_TICK_S))
        return min(deadlines, default=None)

    def advance(self) -> None:
        """Carry out everything that is due."""
        if self._is_advancing:
            return  # an order from within a report, which the running round processes
        self._is_advancing = True
        try:
            before = None
            while before != (before := self._facts()):
                self.board.move()
                self.car.advance_to(self._car_ms(self._clock()))
                if not self.car.is_plugged_in:
                    self.board.cable_ma = None
                self.board.settle()
        finally:
            self._is_advancing = False
        self._arm()

    def _on_read(self) -> None:
        """Bring the meters up to date; before the next deadline, only energy changes."""
        now = self._clock()
        if now < self._due_at:
            self.car.advance_to(self._car_ms(now))
        else:
            self.advance()

    def _car_ms(self, now: float) -> int:
        return self._anchor_ms + int((now - self._anchor) * 1000 * self._speed)

    def _facts(self) -> tuple[object, ...]:
        board = self.board
        return (board.pilot, board.output, board.offered_ma, board.is_closed, board.cable_ma)

    def _arm(self) -> None:
        deadline = self.next_deadline()
        self._due_at = math.inf if deadline is None else deadline
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - self._clock())
            self._timer = self._loop.call_later(delay, self.advance)

    # Actions of a person

    def plug_in(self) -> None:
        self.advance()
        self.board.cable_ma = self.cable_ma
        self.car.plug_in()
        self.advance()

    def unplug(self) -> None:
        """Unplug the vehicle, also under load."""
        self.advance()
        self.car.unplug()
        self.advance()

    def demand(self) -> None:
        self.advance()
        self.car.demand(True)
        self.advance()

    def no_demand(self) -> None:
        self.advance()
        self.car.demand(False)
        self.advance()

    def tap(self, uid: bytes) -> None:
        """Hold a card to the reader. Raises ValueError unless `uid` has 1 to 10 bytes."""
        if not 1 <= len(uid) <= 10:
            raise ValueError(f"a card's uid has 1 to 10 bytes, not {len(uid)}")
        self.board.report_event(RfidTapped(uid))

    def fault(self, name: str) -> None:
        """Cause a fault, named as in the cluster ("GroundFault") or in Python ("GROUND_FAULT").

        Raises ValueError for an unknown name.
        """
        self.advance()
        self.board.break_down(find_fault(name))
        self.advance()

    def clear_fault(self) -> None:
        self.advance()
        self.board.repair()
        self.advance()

    def derate(self, current_ma: Milliamps | None) -> None:
        """Limit the current due to heat; None removes the limit."""
        self.board.report_event(CurrentDerated(current_ma))

    def set_temperature(self, celsius: float) -> None:
        """Set the board's temperature."""
        self.board.temperature_mc = int(celsius * 1000)

    def set_surplus(self, watts: float | None) -> None:
        """Set the solar surplus; None means unknown.

        It shows at the grid meter, if there is one, and is reported otherwise.
        """
        surplus_mw = None if watts is None else Milliwatts(int(watts * 1000))
        if self.grid_meter is None:
            self.board.report_event(SurplusReported(surplus_mw))
        else:
            self.board.house_mw = None if surplus_mw is None else Milliwatts(-surplus_mw)

    def set_battery(
        self, *, soc_percent: int | None = None, capacity_mwh: MilliwattHours | None = None
    ) -> None:
        """Set the vehicle's battery capacity or state of charge. Raises ValueError."""
        self.advance()
        if soc_percent is not None and not 0 <= soc_percent <= 100:
            raise ValueError(f"soc_percent {soc_percent} is not in 0 to 100")
        if capacity_mwh is not None and capacity_mwh <= 0:
            raise ValueError(f"capacity_mwh {capacity_mwh} is not above 0")
        percent = self.car.state_of_charge_percent if soc_percent is None else soc_percent
        if capacity_mwh is not None:
            self.car.capacity_mwh = capacity_mwh
        self.car.state_of_charge_percent = percent
        self.car.refresh()
        self.advance()

    def status(self) -> SimulationStatus:
        self.advance()
        board, car = self.board, self.car
        return {
            "pilot": board.pilot.value,
            "output": board.output.value,
            "offered_ma": board.offered_ma,
            "contactor": "closed" if board.is_closed else "open",
            "is_locked": board.is_locked,
            "cable_ma": board.cable_ma,
            "is_plugged_in": car.is_plugged_in,
            "wants_energy": car.wants_energy,
            "power_mw": car.power_mw,
            "current_ma": car.current_ma,
            "soc_percent": car.state_of_charge_percent,
            "capacity_mwh": car.capacity_mwh,
            "imported_mwh": car.charged.total_mwh,
            "exported_mwh": car.discharged.total_mwh,
            "simulated_ms": car.now_ms,
            "speed": self._speed,
            "temperature_mc": board.temperature_mc,
        }


def find_fault(name: str) -> FaultState:
    """Return the fault with this name, in any spelling of case and underscores.

    Raises ValueError for an unknown one and for "no error".
    """
    wanted = name.replace("_", "").replace("-", "").lower()
    for fault in FaultState:
        if fault is not FaultState.NO_ERROR and fault.value.lower() == wanted:
            return fault
    known = ", ".join(fault.value for fault in FaultState if fault is not FaultState.NO_ERROR)
    raise ValueError(f"unknown fault '{name}'; known faults are {known}")
