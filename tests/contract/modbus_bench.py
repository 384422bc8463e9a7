"""Bench of the Modbus EVSE backend: the real link to pymodbus's server with a model behind it.

Backend and server run in the event loop of a thread, and the bench's methods wait for
their results.
Only `wait` moves the clock of models and backend.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.interface import HalEvent, Ratings
from evse_node.hal.modbus.bus_meter import MeterOnBus
from evse_node.hal.modbus.meter import load_map
from tests.support.hal.modbus_evse_models import Controller, Meter, Phoenix, SimpleEvse, SmartEvse
from tests.support.hal.modbus_evse_peer import LoopThread, Peer, quick_map

_T = TypeVar("_T")
STEP_S = 0.5


class ModbusBench:
    """Bench of one controller."""

    def __init__(self, name: str, controller: Controller, *, is_rtu: bool, meter: bool) -> None:
        self.controller = controller
        self.events: list[HalEvent] = []
        self._thread: LoopThread | None = LoopThread()
        self._peer = Peer(controller, Meter(controller))
        self._run(self._peer.serve_rtu() if is_rtu else self._peer.serve_tcp())
        registers = quick_map(name, turnaround_ms=5, timeout_ms=500)
        own = None if registers.meter is None else MeterOnBus(registers.meter, controller.unit, 0)
        on_bus = MeterOnBus(load_map("sdm630"), Meter.unit, 0)
        evse = ModbusEvse(
            registers=registers,
            modbus=self._peer.spec(controller.unit),
            meter=(own or on_bus) if meter else None,
            has_socket=True,
        )
        self.backend = ExternalController(
            ModbusEvseLink(evse, clock=self._now), Ratings(phases=3), clock=self._now
        )

    def _now(self) -> float:
        return self.controller.now

    def _run(self, task: Coroutine[Any, Any, _T]) -> _T:
        assert self._thread is not None
        return self._thread.run(task)

    async def start(self) -> None:
        self._run(self.backend.attach(self.events.append))

    async def stop(self) -> None:
        if self._thread is None:
            return
        self._run(self.backend.stop())
        self._run(self._peer.close())
        self._thread.close()
        self._thread = None

    def plug_in(self) -> None:
        self._turn_to("B")

    def demand(self) -> None:
        self._turn_to("C")

    def no_demand(self) -> None:
        self._turn_to("B")

    def unplug(self) -> None:
        self._turn_to("A")

    def _turn_to(self, vehicle: str) -> None:
        self.controller.turn_to(vehicle)
        self._run(self.backend.poll())

    def wait(self, seconds: float) -> None:
        end = self.controller.now + seconds
        while self.controller.now < end:
            self._run(self.backend.poll())
            self.controller.advance(min(STEP_S, end - self.controller.now))
        self._run(self.backend.poll())

    def is_powered(self) -> bool:
        return self.controller.is_closed

    def tap(self, uid: bytes) -> None:
        raise NotImplementedError("no reader")


def simpleevse_bench() -> ModbusBench:
    """Return a bench over RTU, with a meter on the same bus."""
    return ModbusBench("simpleevse", SimpleEvse(), is_rtu=True, meter=True)


def phoenix_bench() -> ModbusBench:
    """Return a bench over TCP, with the controller's own meter."""
    return ModbusBench("phoenix-em-cp-pp-eth", Phoenix(), is_rtu=False, meter=True)


def smartevse_bench() -> ModbusBench:
    """Return a bench over RTU, as the master of its load balancing, without a meter."""
    return ModbusBench("smartevse", SmartEvse(), is_rtu=True, meter=False)
