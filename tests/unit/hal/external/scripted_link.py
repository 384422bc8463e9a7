"""A link whose status the test sets, and the backend on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.units import Milliamps

QUICK = PollTimings(
    poll_s=0.01,
    retry_s=0.002,
    call_s=0.05,
    lost_s=0.1,
    reopen_s=0.01,
    start_s=0.2,
    stop_s=0.05,
    close_s=0.05,
    unordered_s=0.05,
)


ALL = LinkTraits(
    has_meter=True,
    has_thermometer=True,
    has_lock=True,
    has_proximity=True,
    has_cards=True,
    heartbeat_s=0.02,
    self_test_s=0.05,
)


IDLE = ControllerStatus(PilotState.A, is_closed=False)


OFFER = Milliamps(16_000)


class ScriptedLink:
    """Link that returns `status` or raises `failure`, and records its calls."""

    def __init__(self, traits: LinkTraits = ALL) -> None:
        self.traits = traits
        self.status = IDLE
        self.failure: Exception | None = None
        self.hangs = False
        self.applied: list[ControllerOrders] = []
        self.calls: list[str] = []
        self.wake: Callable[[], None] = lambda: None

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failure is not None:
            raise self.failure

    async def open(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        await self._call("open")

    async def close(self) -> None:
        self.calls.append("close")
        if self.hangs:
            await asyncio.sleep(3600)

    async def read_status(self) -> ControllerStatus:
        await self._call("status")
        return self.status

    async def apply(self, orders: ControllerOrders) -> None:
        await self._call("apply")
        self.applied.append(orders)

    async def keep_alive(self) -> None:
        await self._call("beat")

    async def self_test(self) -> None:
        await self._call("test")


class Rig:
    """The backend with its task, and its events."""

    def __init__(self, link: ScriptedLink) -> None:
        self.link = link
        self.clock: Callable[[], float] = time.monotonic
        self.backend = ExternalController(
            link, Ratings(), timings=QUICK, clock=lambda: self.clock()
        )
        self.events: list[HalEvent] = []

    async def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.001)

    async def show(self, status: ControllerStatus) -> None:
        """Set the status, and wait until it was processed."""
        self.link.status = status
        await self.polls(2)

    async def polls(self, count: int) -> None:
        seen = self.link.calls.count("status")
        await self.until(lambda: self.link.calls.count("status") >= seen + count)
        await asyncio.sleep(0.002)
