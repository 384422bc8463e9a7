"""Polls of an external controller, from start to stop.

Each poll sends new orders, reads the status, and reports its changes. Opening goes first, and is
repeated until the controller confirms it. An order to close does not outlast a loss of the
controller: the machine has to repeat it.
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
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, Link, describe
from evse_node.hal.external.shutdown import LAST_ORDERS
from evse_node.hal.external.status_differ import LOST, StatusDiffer
from evse_node.hal.interface import HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import SelfTestCompleted

_LOGGER: Final = logging.getLogger(__name__)

_APPLICATIONS_PER_POLL: Final = 3
# A limit may be finer than the steps of the current.
_COARSEST_STEP_MA: Final = 1_000
_FAILURES: Final = (HalError, OSError, TimeoutError)


class PollTimings(Struct, frozen=True):
    """Intervals and limits of the polls, in seconds.

    Pending orders are repeated every `retry_s`. One poll takes `call_s` at most, whatever the
    link's own limits; `stop` waits for its end, and then up to `stop_s` until the controller is
    disabled. Closing the port takes `close_s` at most. A controller that is silent for `lost_s`
    is lost; then the port is reopened every `reopen_s`. A contactor that closed without an
    order is reported after `unordered_s`.
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
    """Poller of one link, for one run of the backend. `clock` returns monotonic seconds.

    `is_lost`: the controller was silent for too long, `failure` is the reason. `is_stopping`:
    the only remaining order is to disable.
    """

    def __init__(
        self,
        link: Link,
        ratings: Ratings,
        timings: PollTimings,
        clock: Callable[[], float],
        post: Callable[[HalEvent], None],
    ) -> None:
        self.timings = timings
        self.desired = DesiredState()
        self.differ = StatusDiffer(self.desired, link.traits, ratings, post, timings.unordered_s)
        self.is_open = self.is_lost = self.is_stopping = False
        self.failure = ""
        self._link = link
        self._clock = clock
        self._post = post
        self._wake = asyncio.Event()
        self._test_limit: asyncio.Timeout | None = None
        self._applied: ControllerOrders | None = None
        self._was_enabled = False
        self._is_open_unconfirmed = False
        self._is_failing = False
        self._has_failed_test = False
        self._answered_at = self._heartbeat_at = clock()

    @property
    def _orders(self) -> ControllerOrders:
        return LAST_ORDERS if self.is_stopping else self.desired.orders(self._link.traits.step_ma)

    # Timing

    def next_poll_s(self) -> float:
        """Return the time until the next poll, unless `wake` is called."""
        if self._wake.is_set():
            return 0.0
        if self.is_lost or not self.is_open:
            return self.timings.reopen_s
        is_pending = self._applied != self._orders or self.desired.is_opening
        return self.timings.retry_s if is_pending else self.timings.poll_s

    def wake(self) -> None:
        """Poll again at once."""
        self._wake.set()

    async def pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.next_poll_s()):
                await self._wake.wait()

    def end(self) -> None:
        """Allow no orders but to disable, and abort a self-test."""
        self.is_stopping = True
        self.wake()
        if self._test_limit is not None and not self._test_limit.expired():
            self._test_limit.reschedule(0.0)

    # One poll

    async def poll(self) -> None:
        """Send new orders, read the status, and report its changes."""
        self._wake.clear()
        try:
            async with asyncio.timeout(self.timings.call_s):
                status = await self._exchange()
        except _FAILURES as error:
            await self._on_failure(error)
            return
        except Exception as error:
            if repr(error) != self.failure:
                _LOGGER.exception("the controller's link failed")
            await self._on_failure(error, repr(error))
            return
        self._process(status)
        if self.desired.is_testing and not status.is_closed and not self.is_stopping:
            await self._test()

    async def _exchange(self) -> ControllerStatus:
        link = self._link
        if not self.is_open:
            self._applied = None
            await link.open(self.wake)
            self.is_open = True
            if self.desired.is_closed:
                await self._check_before_closing()
        for _ in range(_APPLICATIONS_PER_POLL):
            orders = self._orders
            if orders == self._applied:
                break
            self._was_enabled = False
            await link.apply(orders)
            self._applied = orders
        heartbeat_s = link.traits.heartbeat_s
        if heartbeat_s is not None and self._clock() - self._heartbeat_at >= heartbeat_s:
            await link.keep_alive()
            self._heartbeat_at = self._clock()
        return await link.read_status()

    async def _check_before_closing(self) -> None:
        """After reconnecting during a session, leave a contactor open that has opened meanwhile.

        The machine did not notice. A fault, until the next open status, makes it start over.
        """
        status = await self._link.read_status()
        if status.is_closed and not status.has_restarted:
            return
        _LOGGER.warning("the controller opened or restarted while disconnected")
        self._revoke()
        self.differ.report_faults()

    def _revoke(self) -> None:
        self.desired.revoke()
        self._is_open_unconfirmed = True
        self._set_own_faults()

    async def _test(self) -> None:
        limit_s = self._link.traits.self_test_s
        status = None
        try:
            async with asyncio.timeout(limit_s) as self._test_limit:
                await self._link.self_test()
                status = await self._link.read_status()
        except Exception as error:
            is_unexpected = not isinstance(error, _FAILURES)
            _LOGGER.error("the self-test failed: %s", describe(error), exc_info=is_unexpected)
        finally:
            self._test_limit = None
        self._has_failed_test = status is None
        self._applied = None
        if status is not None:
            self._process(status)
        self._set_own_faults()
        self.differ.report_faults()
        self._end_test()

    def _end_test(self) -> None:
        self.desired.is_testing = False
        self._post(SelfTestCompleted())

    async def _on_failure(self, error: Exception, words: str = "") -> None:
        # The orders may or may not have arrived.
        self._applied = None
        self.failure = words or describe(error)
        if not self._is_failing:
            self._is_failing = True
            _LOGGER.warning("the controller: %s", self.failure)
        if not self.is_lost and self._clock() - self._answered_at >= self.timings.lost_s:
            _LOGGER.error("the controller is lost: %s", self.failure)
            self.is_lost = True
            self._revoke()
            self.differ.on_lost()
            if self.desired.is_testing:
                self._end_test()
        if self.is_lost or not self.is_open or not isinstance(error, HalError):
            await self.close_link()

    async def close_link(self) -> None:
        self.is_open = False
        try:
            async with asyncio.timeout(self.timings.close_s):
                await self._link.close()
        except _FAILURES as error:
            _LOGGER.warning("the controller's port: %s", describe(error))

    # Processing of a status

    def _process(self, status: ControllerStatus) -> None:
        desired, applied = self.desired, self._applied
        # An order to open that came during this request is newer than the status.
        is_overtaken = desired.is_opening and not (applied is not None and applied.must_open)
        was_lost, self.is_lost = self.is_lost, False
        self._answered_at = now = self._clock()
        if self._is_failing:
            _LOGGER.info("the controller answers again")
            self._is_failing = False
        if was_lost or status.has_restarted:
            # It may have closed by itself; the machine has to order that again.
            self._applied = None
            desired.is_closed = False
            desired.is_opening = desired.is_opening or status.is_closed
        if not self._is_as_ordered(status):
            self._applied = None
        # Lost with a closed contactor, it has recovered once it reports an open one.
        self._is_open_unconfirmed = self._is_open_unconfirmed and status.is_closed
        self._set_own_faults()
        if self.differ.update(status, now, is_overtaken=is_overtaken):
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
            self.desired.cut()
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
        is_faulty = self.is_lost or self._is_open_unconfirmed or self._has_failed_test
        self.differ.own_faults = frozenset({LOST}) if is_faulty else frozenset()
