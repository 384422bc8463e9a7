"""A controller whose requests take steps, and a callback at one of them."""

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
# Short between polls, with long limits.
PATIENT = PollTimings(
    poll_s=0.001, retry_s=0.001, reopen_s=0.001, call_s=5.0, start_s=5.0, stop_s=5.0
)
HASTY = replace(PATIENT, call_s=0.03, lost_s=60.0, stop_s=0.2, close_s=0.05)


class SteppedLink:
    """A controller whose vehicle is ready, enabled from an earlier run.

    Each request takes three steps: sent, received, answered. At the step `moment`, counted from
    the first one, `on_moment` is called. Each of `failures` fails one request. After a cancelled
    request the next one takes `recovery_s`, by default forever.
    """

    def __init__(self, moment: int = -1, *, recovery_s: float = 3600.0) -> None:
        self.traits = LinkTraits(heartbeat_s=0.0)
        self.moment = moment
        self.recovery_s = recovery_s
        self.steps = 0
        self.on_moment: Callable[[], None] = lambda: None
        self.is_open = self.is_busy = self.was_cancelled = False
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

    async def _request(self, receive: Callable[[], None]) -> None:
        assert not self.is_busy, "two requests at a time"
        self.is_busy = True
        try:
            await self._answer(receive)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        finally:
            self.is_busy = False

    async def _answer(self, receive: Callable[[], None]) -> None:
        if self.was_cancelled:
            await asyncio.sleep(self.recovery_s)
            self.was_cancelled = False
        await self._step()
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failure is not None:
            raise self.failure
        if self.failures:
            raise self.failures.pop()
        receive()
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

        def receive() -> None:
            self.enablings += orders.is_enabled and not self.is_enabled
            self.is_enabled = orders.is_enabled

        await self._request(receive)

    async def keep_alive(self) -> None:
        await self._request(lambda: None)

    async def self_test(self) -> None:
        raise AssertionError("no self-test")


async def charge(backend: ExternalController) -> None:
    await backend.start(lambda event: None)
    backend.offer(OFFER)
    backend.contactor.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
