"""A controller whose requests take steps, and something that happens at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.external.poller import PollTimings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.units import Milliamps

OFFER = Milliamps(16_000)
# Short between polls, and patient with them.
PACE = PollTimings(poll_s=0.001, retry_s=0.001, reopen_s=0.001, call_s=5.0, start_s=5.0, stop_s=5.0)
HASTY = replace(PACE, call_s=0.03, lost_s=60.0, stop_s=0.2, close_s=0.05)


class SteppedLink:
    """A controller whose vehicle is ready, enabled from an earlier run.

    Each request takes three steps: sent, taken in, answered. At the step `moment`, counted
    from the first one, `on_moment` is called. Of `failures` each spoils one request. A request
    that is cut short is what a bus does not forgive: the next one never ends, or, with
    `repents_s`, takes that long.
    """

    def __init__(self, moment: int = -1, *, repents_s: float = 3600.0) -> None:
        self.traits = LinkTraits(heartbeat_s=0.0)
        self.moment = moment
        self.repents_s = repents_s
        self.steps = 0
        self.on_moment: Callable[[], None] = lambda: None
        self.is_open = self.is_busy = self.was_cut = False
        self.is_enabled = True
        self.is_stuck = False
        self.hangs = False
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.enablings = 0
        self.polls = 0

    async def _step(self) -> None:
        if self.steps == self.moment:
            self.on_moment()
        self.steps += 1
        for _ in range(3):
            await asyncio.sleep(0)

    async def _request(self, take_in: Callable[[], None]) -> None:
        assert not self.is_busy, "two requests at a time"
        self.is_busy = True
        try:
            await self._talk(take_in)
        except asyncio.CancelledError:
            self.was_cut = True
            raise
        finally:
            self.is_busy = False

    async def _talk(self, take_in: Callable[[], None]) -> None:
        if self.was_cut:
            await asyncio.sleep(self.repents_s)
            self.was_cut = False
        await self._step()
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failure is not None:
            raise self.failure
        if self.failures:
            raise self.failures.pop()
        take_in()
        await self._step()
        await self._step()

    async def open(self, wake: Callable[[], None]) -> None:
        self.is_open = True
        await self._request(lambda: None)

    async def close(self) -> None:
        assert not self.is_busy, "closed in the middle of a request"
        self.is_open = False

    async def read_status(self) -> ControllerStatus:
        assert self.is_open
        await self._request(lambda: None)
        self.polls += 1
        return ControllerStatus(PilotState.C, self.is_enabled or self.is_stuck)

    async def apply(self, orders: ControllerOrders) -> None:
        assert self.is_open

        def take_in() -> None:
            self.enablings += orders.is_enabled and not self.is_enabled
            self.is_enabled = orders.is_enabled

        await self._request(take_in)

    async def keep_alive(self) -> None:
        await self._request(lambda: None)

    async def self_test(self) -> None:
        raise AssertionError("there is none")


async def charge(backend: ExternalController) -> None:
    await backend.start(lambda event: None)
    backend.offer(OFFER)
    backend.contactor.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
