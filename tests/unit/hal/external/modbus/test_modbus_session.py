"""Charging sessions with charger, backend, link, server and a controller's model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evse_node.charger import Charger, ChargerSettings, Snapshot
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.bus_meter import MeterOnBus
from evse_node.hal.modbus.meter import load_map
from evse_node.state_machine.effects import EvNotDetected, Notification
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import EnableCharging, LimitClaimed
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState, EvseSettings
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps
from tests.support.hal.modbus_evse_models import Controller, Meter, Phoenix, SimpleEvse, SmartEvse
from tests.support.hal.modbus_evse_peer import LoopThread, Peer, quick_map, short_sleep

ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
STEP_S = 0.5
CONTACTOR_S = 5.0


class Site:
    """A charger on a controller, in one virtual time."""

    timeout_s = 0.25
    link: ModbusEvseLink

    def __init__(self, name: str, controller: Controller, *, is_rtu: bool) -> None:
        self.name = name
        self.controller = controller
        self.peer = Peer(controller, Meter(controller))
        self.is_rtu = is_rtu
        self.notifications: list[Notification] = []
        self.store = MemoryStore()
        # The charger reads its meter before the backend starts, and waits for that.
        self.thread = LoopThread()

    @property
    def now(self) -> float:
        return self.controller.now

    async def serve(self) -> None:
        self.thread.run(self.peer.serve_rtu() if self.is_rtu else self.peer.serve_tcp())

    async def serve_again(self) -> None:
        await self.serve()
        self._set_timeout(self.timeout_s)

    def _set_timeout(self, timeout_s: float) -> None:
        self.link._map = quick_map(self.name, timeout_ms=1000 * timeout_s, turnaround_ms=20)
        if self.link._bus is not None:
            client: Any = self.link._bus._client
            client.ctx.comm_params.timeout_connect = timeout_s

    async def hang_up(self) -> None:
        self.thread.run(self.peer.hang_up())
        # There are no answers to wait for.
        self._set_timeout(0.03)

    async def open(self) -> None:
        await self.serve()
        modbus = self.peer.spec(self.controller.unit)
        registers = quick_map(self.name, timeout_ms=1000 * self.timeout_s, turnaround_ms=20)
        evse = ModbusEvse(
            registers=registers, modbus=modbus, meter=MeterOnBus(load_map("sdm630"), Meter.unit)
        )
        self.link = ModbusEvseLink(evse, sleep=short_sleep, clock=lambda: self.now)
        self.backend = ExternalController(
            self.link,
            Ratings(phases=3, contactor_timeout_s=CONTACTOR_S),
            timings=PollTimings(),
            clock=lambda: self.now,
        )
        settings = ChargerSettings(EvseSettings(contactor_timeout_s=CONTACTOR_S))
        self.charger = Charger(self.backend, self.store, now=self.now, settings=settings)
        self.charger.observers.append(self._observe)
        await self.backend.attach(lambda event: self.charger.receive(event, self.now))

    def _observe(
        self, snapshot: Snapshot, notifications: tuple[Notification, ...], now: float
    ) -> None:
        self.notifications += notifications

    async def run(self, seconds: float, step_s: float = STEP_S) -> None:
        end = self.now + seconds
        while self.now < end:
            deadline = self.charger.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.charger.on_timer(self.now)
            # The first sends orders, the second reads their effect.
            await self.backend.poll()
            await self.backend.poll()
            self.controller.advance(step_s)

    async def charge(self) -> None:
        self.charger.handle(ENABLE, self.now)
        self.controller.turn_to("B")
        await self.run(2)
        self.controller.turn_to("C")
        await self.run(3)
        assert self.is_charging
        assert self.controller.limit_a == 16

    @property
    def is_charging(self) -> bool:
        snapshot = self.charger.snapshot()
        is_told = snapshot.contactor is ContactorState.CLOSED
        return self.controller.is_closed and is_told and self.state is State.PLUGGED_IN_CHARGING

    @property
    def state(self) -> State:
        return self.charger.state.state

    @property
    def faults(self) -> tuple[FaultState, ...]:
        return self.charger.state.faults

    async def close(self) -> None:
        await self.backend.stop()
        self.thread.run(self.peer.close())
        self.thread.close()


@asynccontextmanager
async def made(name: str) -> AsyncIterator[Site]:
    controller: Controller
    match name:
        case "simpleevse":
            controller = SimpleEvse()
        case "smartevse":
            controller = SmartEvse()
        case _:
            controller = Phoenix()
    site = Site(name, controller, is_rtu=not isinstance(controller, Phoenix))
    await site.open()
    try:
        yield site
    finally:
        await site.close()


@pytest.fixture(params=["phoenix-em-cp-pp-eth", "simpleevse", "smartevse"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with made(request.param) as each:
        yield each


async def test_charging_session_from_plug_in_to_unplug(site: Site) -> None:
    controller = site.controller
    await site.charge()
    start_wh = controller.energy_wh
    await site.run(60, 1)
    site.charger.handle(LimitClaimed(LimitSource.USER, Milliamps(10_000)), site.now)
    await site.run(8)
    assert controller.limit_a == 10
    assert site.is_charging
    # The vehicle is full and leaves.
    controller.turn_to("B")
    await site.run(2)
    assert not controller.is_closed
    assert site.state is State.PLUGGED_IN_NO_DEMAND
    controller.turn_to("A")
    await site.run(2)
    assert site.state is State.NOT_PLUGGED_IN
    assert site.faults == ()
    [gone] = [notice for notice in site.notifications if isinstance(notice, EvNotDetected)]
    assert controller.energy_wh > start_wh + 100
    assert gone.energy_charged_mwh == pytest.approx(controller.energy_wh * 1000, rel=0.01)


async def test_controller_stays_open_while_charging_is_disabled(site: Site) -> None:
    site.controller.turn_to("B")
    await site.run(2)
    site.controller.turn_to("C")
    await site.run(10)
    assert not site.controller.is_closed
    assert site.faults == ()


async def test_lost_link_is_a_fault_until_it_returns(site: Site) -> None:
    controller = site.controller
    await site.charge()
    await site.hang_up()
    await site.run(2, 1)
    assert site.faults == ()
    await site.run(4, 2)
    assert FaultState.OTHER in site.faults
    await site.run(12, 4)
    assert not site.is_charging
    # Meanwhile one controller falls back; the others have no timeout.
    assert controller.is_closed is (site.name != "smartevse")
    await site.serve_again()
    await site.run(2)
    if site.name == "smartevse":
        # It waits for the vehicle to start over.
        controller.turn_to("B")
        await site.run(5)
        controller.turn_to("C")
    await site.run(8)
    assert site.faults == ()
    assert site.is_charging


@pytest.mark.parametrize("is_asked_again", [False, True])
async def test_session_continues_after_controller_restart(site: Site, is_asked_again: bool) -> None:
    controller = site.controller
    await site.charge()
    if is_asked_again:
        # As after a lost answer.
        site.backend._poller._applied = None
    controller.restart()
    await site.run(20)
    assert site.faults == ()
    assert site.is_charging
    assert controller.limit_a == 16


async def test_session_continues_after_slow_controller_restart(site: Site) -> None:
    await site.charge()
    await site.hang_up()
    site.controller.restart()
    await site.run(1.5)
    await site.serve_again()
    await site.run(15)
    assert site.faults == ()
    assert site.is_charging
    assert site.controller.limit_a == 16


async def test_session_continues_after_demand_paused_between_polls(site: Site) -> None:
    await site.charge()
    site.controller.turn_to("B")
    site.controller.turn_to("C")
    await site.run(10)
    assert site.faults == ()
    assert site.is_charging


async def test_occasional_invalid_answers_are_no_fault(site: Site) -> None:
    await site.charge()
    for fault in ("silent", "garbage", "half"):
        for _ in range(2):
            setattr(site.peer.faults, fault, 1)
            await site.run(1)
        assert site.faults == ()
        assert site.is_charging


async def test_stop_disables_controller(site: Site) -> None:
    await site.charge()
    await site.backend.stop()
    assert not site.controller.is_closed


async def residual_current_in(site: Site) -> SimpleEvse:
    await site.charge()
    controller = site.controller
    assert isinstance(controller, SimpleEvse)
    controller.failures = 0x20
    controller.refresh()
    await site.run(2)
    assert site.faults == (FaultState.GROUND_FAULT,)
    return controller


async def test_residual_current_is_a_ground_fault() -> None:
    async with made("simpleevse") as site:
        controller = await residual_current_in(site)
        assert not controller.is_closed


async def test_fault_that_ended_while_node_was_stopped_is_cleared() -> None:
    async with made("simpleevse") as site:
        controller = await residual_current_in(site)
        await site.backend.stop()
        site.thread.run(site.peer.close())
        controller.failures = 0
        controller.refresh()
        await site.open()
        await site.run(2)
        assert site.faults == ()


async def test_higher_current_after_restart_lasts_one_poll() -> None:
    async with made("simpleevse") as site:
        await site.charge()
        site.controller.car_a = 32.0
        site.controller.restart()
        assert site.controller.current_a == 32
        await site.backend.poll()
        await site.backend.poll()
        assert site.controller.current_a <= 16


async def test_lost_meter_is_a_meter_failure() -> None:
    async with made("simpleevse") as site:
        await site.charge()
        meter = site.peer.registers.controllers.pop()
        await site.run(5, 1)
        assert site.faults == ()
        await site.run(6, 1)
        assert site.faults == (FaultState.METER_FAILURE,)
        site.peer.registers.controllers.append(meter)
        await site.run(16)
        assert site.faults == ()
