"""From start to stop: what is asked of a controller, round by round, and what came of it.

Each round gives the orders that are new, asks how things are, and has the changes told.
Opening goes before everything else and is repeated until the controller confirms it. What
the machine allowed before the link was lost, it has to allow anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, Link, words_of
from evse_node.hal.external.shutdown import LAST_ORDERS
from evse_node.hal.external.status_reporter import LOST, StatusDiffer
from evse_node.hal.interface import HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import SelfTestCompleted

_LOGGER: Final = logging.getLogger(__name__)

_APPLICATIONS_PER_POLL: Final = 3
# A limit may be finer than what can be set.
_COARSEST_STEP_MA: Final = 1_000
_FAILURES: Final = (HalError, OSError, TimeoutError)


class PollTimings(Struct, frozen=True):
    """How often and how long, in seconds.

    Orders that are not carried out yet are given again every `retry_s`.
    `call_s` is the longest that one poll may take, whatever the link says of its own limits;
    `stop` lets it end, and then has `stop_s` to see the controller disabled. Closing the port
    may take `close_s`.
    A controller that was silent for `lost_s` is lost; then the port is opened anew every
    `reopen_s`. A contactor closed without an order is told after `unordered_s`.
    """

    poll_s: float = 0.5
    retry_s: float = 0.1
    call_s: float = 3.0
    lost_s: float = 3.0
    reopen_s: float = 1.0
    start_s: float = 10.0
    stop_s: float = 4.0
    close_s: float = 1.0
    unordered_s: float = 1.0


class Poller:
    """One run of the backend on a link; `clock` returns monotonic seconds.

    `wishes` are the newest orders, `teller` knows what was told. `is_lost`: the controller
    was silent for too long, and `failure` says why. `is_ending`: from now on it is only
    disabled.
    """

    def __init__(
        self,
        link: Link,
        ratings: Ratings,
        timings: PollTimings,
        clock: Callable[[], float],
        tell: Callable[[HalEvent], None],
    ) -> None:
        self.timings = timings
        self.wishes = DesiredState()
        self.teller = StatusDiffer(self.wishes, link.traits, ratings, tell, timings.unordered_s)
        self.is_linked = self.is_lost = self.is_ending = False
        self.failure = ""
        self._link = link
        self._clock = clock
        self._tell = tell
        self._news = asyncio.Event()
        self._test_limit: asyncio.Timeout | None = None
        self._applied: ControllerOrders | None = None
        self._was_enabled = False
        self._is_unseen = False
        self._is_failing = False
        self._has_failed_test = False
        self._heard_at = self._beat_at = clock()

    @property
    def _orders(self) -> ControllerOrders:
        return LAST_ORDERS if self.is_ending else self.wishes.orders(self._link.traits.step_ma)

    # When

    def next_poll_s(self) -> float:
        """Return how long to wait before the next poll, if nothing wakes it."""
        if self._news.is_set():
            return 0.0
        if self.is_lost or not self.is_linked:
            return self.timings.reopen_s
        is_pending = self._applied != self._orders or self.wishes.is_opening
        return self.timings.retry_s if is_pending else self.timings.poll_s

    def wake(self) -> None:
        """Let the next poll follow at once."""
        self._news.set()

    async def pause(self) -> None:
        """Wait until the next poll is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.next_poll_s()):
                await self._news.wait()

    def end(self) -> None:
        """Let nothing but disabling follow, and cut a self-test short."""
        self.is_ending = True
        self.wake()
        if self._test_limit is not None and not self._test_limit.expired():
            self._test_limit.reschedule(0.0)

    # One round

    async def poll(self) -> None:
        """Give the orders that are new, ask the controller, and tell what changed."""
        self._news.clear()
        try:
            async with asyncio.timeout(self.timings.call_s):
                status = await self._talk()
        except _FAILURES as error:
            await self._on_failure(error)
            return
        except Exception as error:
            if repr(error) != self.failure:
                _LOGGER.exception("the controller's link failed")
            await self._on_failure(error, repr(error))
            return
        self._take_in(status)
        if self.wishes.is_testing and not status.is_closed and not self.is_ending:
            await self._test()

    async def _talk(self) -> ControllerStatus:
        link = self._link
        if not self.is_linked:
            self._applied = None
            await link.open(self.wake)
            self.is_linked = True
            if self.wishes.is_closed:
                await self._look_before_closing()
        for _ in range(_APPLICATIONS_PER_POLL):
            orders = self._orders
            if orders == self._applied:
                break
            self._was_enabled = False
            await link.apply(orders)
            self._applied = orders
        heartbeat_s = link.traits.heartbeat_s
        if heartbeat_s is not None and self._clock() - self._beat_at >= heartbeat_s:
            await link.keep_alive()
            self._beat_at = self._clock()
        return await link.read_status()

    async def _look_before_closing(self) -> None:
        """On a new connection in mid-session, leave open what has opened meanwhile.

        The machine did not hear of it. A fault, until it is seen open, makes it begin anew.
        """
        status = await self._link.read_status()
        if status.is_closed and not status.has_restarted:
            return
        _LOGGER.warning("the controller has opened or restarted while it was not connected")
        self._revoke()
        self.teller.tell_faults()

    def _revoke(self) -> None:
        self.wishes.revoke()
        self._is_unseen = True
        self._set_own_faults()

    async def _test(self) -> None:
        limit_s = self._link.traits.self_test_s
        status = None
        try:
            async with asyncio.timeout(limit_s) as self._test_limit:
                await self._link.self_test()
                status = await self._link.read_status()
        except Exception as error:
            is_mistake = not isinstance(error, _FAILURES)
            _LOGGER.error("the self-test failed: %s", words_of(error), exc_info=is_mistake)
        finally:
            self._test_limit = None
        self._has_failed_test = status is None
        self._applied = None
        if status is not None:
            self._take_in(status)
        self._set_own_faults()
        self.teller.tell_faults()
        self._end_test()

    def _end_test(self) -> None:
        self.wishes.is_testing = False
        self._tell(SelfTestCompleted())

    async def _on_failure(self, error: Exception, words: str = "") -> None:
        # Whether the orders have arrived is not known.
        self._applied = None
        self.failure = words or words_of(error)
        if not self._is_failing:
            self._is_failing = True
            _LOGGER.warning("the controller: %s", self.failure)
        if not self.is_lost and self._clock() - self._heard_at >= self.timings.lost_s:
            _LOGGER.error("the controller is lost: %s", self.failure)
            self.is_lost = True
            self._revoke()
            self.teller.on_lost()
            if self.wishes.is_testing:
                self._end_test()
        if self.is_lost or not self.is_linked or not isinstance(error, HalError):
            await self.unlink()

    async def unlink(self) -> None:
        """Let go of the port."""
        self.is_linked = False
        try:
            async with asyncio.timeout(self.timings.close_s):
                await self._link.close()
        except _FAILURES as error:
            _LOGGER.warning("the controller's port: %s", words_of(error))

    # What a status means

    def _take_in(self, status: ControllerStatus) -> None:
        wishes, applied = self.wishes, self._applied
        # An order to open that came while this status was asked for is newer than it.
        is_overtaken = wishes.is_opening and not (applied is not None and applied.must_open)
        was_lost, self.is_lost = self.is_lost, False
        self._heard_at = now = self._clock()
        if self._is_failing:
            _LOGGER.info("the controller answers again")
            self._is_failing = False
        if was_lost or status.has_restarted:
            # It may have closed with orders of its own; the machine is to close anew.
            self._applied = None
            wishes.is_closed = False
            wishes.is_opening = wishes.is_opening or status.is_closed
        if not self._is_as_ordered(status):
            self._applied = None
        # Lost with its contactor closed, it is back when it was seen open.
        self._is_unseen = self._is_unseen and status.is_closed
        self._set_own_faults()
        if self.teller.take_in(status, now, is_overtaken=is_overtaken):
            self.wake()
        orders = self._orders
        if status.is_closed and (orders.must_open or orders.is_unavailable):
            self._applied = None

    def _is_as_ordered(self, status: ControllerStatus) -> bool:
        applied = self._applied
        if applied is None:
            return True
        is_pilot_free = not status.faults and status.pilot not in (None, PilotState.F)
        if applied.is_unavailable and is_pilot_free:
            return False
        if status.is_enabled is None:
            return True
        if applied.is_enabled and not status.is_enabled and self._was_enabled:
            _LOGGER.warning("charging was stopped at the controller itself")
            self.wishes.cut()
            return True
        self._was_enabled = status.is_enabled
        if status.is_enabled is not applied.is_enabled:
            return False
        if not applied.is_enabled or status.offered_ma is None:
            return True
        bearable_ma = applied.current_ma if status.limit_ma is None else status.limit_ma
        below_ma = min(applied.current_ma, bearable_ma) - status.offered_ma
        return 0 <= below_ma < _COARSEST_STEP_MA

    def _set_own_faults(self) -> None:
        is_faulty = self.is_lost or self._is_unseen or self._has_failed_test
        self.teller.own_faults = frozenset({LOST}) if is_faulty else frozenset()
