"""The backend of an external EVSE controller: a task that polls its link.

Such a controller drives pilot and contactor by itself, and while it is enabled it closes as
soon as the vehicle is ready: nobody can ask it for PWM alone. So an offer enables it, and
the machine, told of state C, gives its order to close in the same moment; without that
order the controller is disabled at once.

Orders are noted and wake the task; the newest win, and opening goes before everything else
and is repeated until the controller confirms it. In a test, call `poll` with a link and a
clock of your own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.external.capabilities import OrderedContactor, OrderedLock, OrderedMeter
from evse_node.hal.external.disabling import LAST_ORDERS, Disabling
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, Link, LinkTraits
from evse_node.hal.external.liveness import Liveness
from evse_node.hal.external.orders import Wishes
from evse_node.hal.external.pace import Pace
from evse_node.hal.external.reading import EarlyReading
from evse_node.hal.external.teller import LOST, StatusTeller
from evse_node.hal.interface import (
    HalEvent,
    HalInbox,
    Ratings,
    SelfTestCompleted,
)
from evse_node.hal.service_manager import ServiceManager
from evse_node.units import Milliamps

__all__ = [
    "ControllerOrders",
    "ControllerStatus",
    "ExternalController",
    "Link",
    "LinkTraits",
    "Pace",
]

_LOGGER: Final = logging.getLogger(__name__)

_APPLICATIONS_PER_POLL: Final = 3
_FAILURES: Final = (HalError, OSError, TimeoutError)


class ExternalController:
    """An `EvseBackend` over a link. `clock` returns monotonic seconds."""

    def __init__(
        self,
        link: Link,
        ratings: Ratings,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        service_manager: ServiceManager | None = None,
    ) -> None:
        self.ratings = ratings
        self.pace = pace or Pace()
        self._link = link
        self._clock = clock
        self._post: HalInbox | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = EarlyReading(link, clock)
        self._liveness = Liveness(service_manager)
        self._news = asyncio.Event()
        # Held while it begins, and while it ends.
        self._life = asyncio.Lock()
        self._is_in_hand = self._is_ending = False
        self._test_limit: asyncio.Timeout | None = None
        self._forget()

        traits = link.traits
        self.control_pilot = self
        self.contactor = OrderedContactor(self)
        self.proximity_pilot = self if traits.has_proximity else None
        self.lock = OrderedLock(self) if traits.has_lock else None
        self.meter = OrderedMeter(self) if traits.has_meter else None
        self.grid_meter = None
        self.rfid_reader = self if traits.has_cards else None
        self.residual_current_device = None
        self.temperature_sensor = self if traits.has_thermometer else None
        self.self_test = self if traits.self_test_s is not None else None
        self.discharger = None
        self.battery_information = None
        self.vehicle_identification = None

    def _forget(self) -> None:
        self._wishes = Wishes()
        self._applied: ControllerOrders | None = None
        self._was_enabled = False
        self._is_linked = False
        self._is_lost = False
        self._is_unseen = False
        self._failure = ""
        self._is_failing = False
        self._has_failed_test = False
        self._heard_at = self._beat_at = self._clock()
        self._teller = StatusTeller(
            self._wishes, self._link.traits, self.ratings, self._tell, self.pace.unordered_s
        )

    # EvseBackend

    async def start(self, post: HalInbox) -> None:
        """Open the contactor, report how things are, and poll until `stop`."""
        await self.attach(post)
        self._task = task = asyncio.create_task(self._run(), name="evse-controller")
        self._liveness.begin(lambda: not task.done())

    async def attach(self, post: HalInbox) -> None:
        """Do what `start` does, without running by itself."""
        if self._is_in_hand:
            raise HalError("the backend runs already")
        self._is_in_hand, self._is_ending = True, False
        async with self._life:
            try:
                await self._begin(post)
            except BaseException as error:
                # An earlier run may have left it enabled. Where all this time was too short,
                # one attempt more is enough.
                is_given_up = isinstance(error, HalError) and not self._is_ending
                await self._let_go(is_patient=not is_given_up)
                raise

    async def _begin(self, post: HalInbox) -> None:
        self._forget()
        self._post = post
        deadline = self._clock() + self.pace.start_s
        await self.poll()
        while not self._teller.is_complete and not self._is_ending:
            if self._clock() > deadline:
                raise HalError(f"the controller cannot be used: {self._failure}")
            await self._pause()
            await self.poll()
        if self._is_ending:
            raise HalError("the backend was stopped before it had started")

    async def stop(self) -> None:
        """Disable the controller, which opens its contactor, and let go of it.

        A request that is cut short would keep the next one from a bus for a while, so a poll
        that is under way comes to its end. What could not be disabled is logged as an error.
        """
        self._is_ending = True
        self._post = None
        self._liveness.end()
        self.wake()
        if self._test_limit is not None and not self._test_limit.expired():
            self._test_limit.reschedule(0.0)
        async with self._life:
            if self._is_in_hand:
                await self._let_go()

    async def _let_go(self, *, is_patient: bool = True) -> None:
        self._is_ending = True
        self._post = None
        disabling = Disabling(self._link, self.pace.retry_s)
        failure = "it was not waited for"
        try:
            await self._end_polls()
            disabling.is_linked = self._is_linked
            async with asyncio.timeout(self.pace.stop_s):
                failure = await disabling.run(is_patient=is_patient)
        except TimeoutError:
            failure = disabling.failure
        finally:
            if failure:
                _LOGGER.error("the controller could not be disabled: %s", failure)
            try:
                await self._unlink()
            finally:
                self._is_in_hand = False

    async def _end_polls(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=self.pace.call_s + self.pace.close_s)
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=self.pace.close_s)

    async def _run(self) -> None:
        while True:
            await self._pause()
            if self._is_ending:
                return
            try:
                await self.poll()
            except Exception:
                # A mistake above must not end the polls, nor be tried again without a pause.
                _LOGGER.exception("what the controller told could not be taken in")
                await asyncio.sleep(self.pace.retry_s)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.next_poll_s()):
                await self._news.wait()

    # One round

    def next_poll_s(self) -> float:
        """Return how long to wait before the next poll, if nothing wakes it."""
        if self._news.is_set():
            return 0.0
        if self._is_lost or not self._is_linked:
            return self.pace.reopen_s
        is_pending = self._applied != self._orders or self._wishes.is_opening
        return self.pace.retry_s if is_pending else self.pace.poll_s

    def wake(self) -> None:
        """Let the next poll follow at once."""
        self._news.set()

    async def poll(self) -> None:
        """Give the orders that are new, ask the controller, and tell what changed."""
        self._news.clear()
        try:
            async with asyncio.timeout(self.pace.call_s):
                status = await self._talk()
        except _FAILURES as error:
            await self._on_failure(error)
            return
        except Exception as error:
            _LOGGER.exception("the controller's link failed")
            await self._on_failure(error)
            return
        self._take_in(status)
        if self._wishes.is_testing and not status.is_closed and not self._is_ending:
            await self._test()

    async def _talk(self) -> ControllerStatus:
        link = self._link
        if not self._is_linked:
            self._applied = None
            await link.open(self.wake)
            self._is_linked = True
        for _ in range(_APPLICATIONS_PER_POLL):
            orders = LAST_ORDERS if self._is_ending else self._orders
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

    async def _test(self) -> None:
        limit_s = self._link.traits.self_test_s
        try:
            async with asyncio.timeout(limit_s) as self._test_limit:
                await self._link.self_test()
                status = await self._link.read_status()
        except _FAILURES as error:
            _LOGGER.error("the self-test failed: %s", _words(error))
            self._has_failed_test = True
        else:
            self._has_failed_test = False
            self._take_in(status)
        finally:
            self._test_limit = None
        self._applied = None
        self._wishes.is_testing = False
        self._set_own_faults()
        self._teller.tell_faults()
        self._tell(SelfTestCompleted())

    async def _on_failure(self, error: Exception) -> None:
        # Whether the orders have arrived is not known.
        self._applied = None
        self._failure = _words(error)
        if not self._is_failing:
            self._is_failing = True
            _LOGGER.warning("the controller: %s", self._failure)
        if not self._is_lost and self._clock() - self._heard_at >= self.pace.lost_s:
            _LOGGER.error("the controller is lost: %s", self._failure)
            self._is_lost = self._is_unseen = True
            self._wishes.is_closed = False
            self._set_own_faults()
            self._teller.on_lost()
        if self._is_lost or not self._is_linked or not isinstance(error, HalError):
            await self._unlink()

    async def _unlink(self) -> None:
        self._is_linked = False
        try:
            async with asyncio.timeout(self.pace.close_s):
                await self._link.close()
        except _FAILURES as error:
            _LOGGER.warning("the controller's port: %s", _words(error))

    # What a status means

    def _take_in(self, status: ControllerStatus) -> None:
        was_lost, self._is_lost = self._is_lost, False
        self._heard_at = now = self._clock()
        if self._is_failing:
            _LOGGER.info("the controller answers again")
            self._is_failing = False
        if was_lost or status.has_restarted:
            # It may have closed with orders of its own; the machine is to close anew.
            self._applied = None
            self._wishes.is_closed = False
            self._wishes.is_opening = self._wishes.is_opening or status.is_closed
        if not self._is_as_ordered(status):
            self._applied = None
        # Lost with its contactor closed, it is back when it was seen open.
        self._is_unseen = self._is_unseen and status.is_closed
        self._set_own_faults()
        if self._teller.take_in(status, now):
            self.wake()
        if status.is_closed and (self._wishes.is_opening or self._wishes.is_cut):
            self._applied = None

    def _is_as_ordered(self, status: ControllerStatus) -> bool:
        applied = self._applied
        if applied is None or status.is_enabled is None:
            return True
        if applied.is_enabled and not status.is_enabled and self._was_enabled:
            _LOGGER.warning("charging was stopped at the controller itself")
            self._wishes.cut()
            return True
        self._was_enabled = status.is_enabled
        if status.is_enabled is not applied.is_enabled:
            return False
        if not applied.is_enabled or status.offered_ma is None:
            return True
        bearable_ma = applied.current_ma if status.limit_ma is None else status.limit_ma
        return status.offered_ma == min(applied.current_ma, bearable_ma)

    def _set_own_faults(self) -> None:
        is_faulty = self._is_lost or self._is_unseen or self._has_failed_test
        self._teller.own_faults = frozenset({LOST}) if is_faulty else frozenset()

    def _tell(self, event: HalEvent) -> None:
        if self._post is not None:
            self._post(event)

    # Orders

    @property
    def _orders(self) -> ControllerOrders:
        return self._wishes.orders(self._link.traits.step_ma)

    def _require_link(self) -> None:
        if self._post is None:
            raise HalError("the controller is not in hand: the backend is not started")
        if self._is_lost:
            raise HalError(f"the controller is lost: {self._failure}")

    def offer(self, current_ma: Milliamps) -> None:
        """Enable the controller with this current."""
        self._require_link()
        self._wishes.offer(current_ma)
        self.wake()

    def withdraw(self) -> None:
        """Disable the controller; it lets the vehicle end its current first."""
        self._wishes.withdraw()
        self.wake()

    def signal_unavailable(self) -> None:
        """Put -12 V on the pilot, and open at once."""
        self._wishes.signal_unavailable()
        self.wake()

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor; closing raises HalError when there is a reason not to."""
        if is_closed:
            self._require_link()
            if self._teller.faults:
                names = ", ".join(sorted(fault.value for fault in self._teller.faults))
                raise HalError(f"the contactor stays open: {names}")
            if self._wishes.offer_ma is None:
                raise HalError("the contactor stays open: no current is offered")
            self._wishes.close()
        else:
            pilot = self._teller.pilot
            self._wishes.open(is_ready=pilot is not None and pilot.is_ready)
        self.wake()

    def order_locked(self, is_locked: bool) -> None:
        """Move the lock."""
        self._require_link()
        self._wishes.is_locked = is_locked
        self.wake()

    def start_self_test(self) -> None:
        """Open, and let the controller test itself."""
        self._require_link()
        self._wishes.is_testing = True
        self.wake()

    # Readings

    def status(self) -> ControllerStatus:
        """Return the newest status. Before `start`, the controller itself is asked, once."""
        if not self._is_in_hand:
            return self._early.status()
        status = self._teller.status
        if status is None or self._is_lost:
            raise HalError(f"the controller does not answer: {self._failure}")
        return status

    def read_millicelsius(self) -> int:
        """Return the newest temperature."""
        temperature = self.status().temperature_millicelsius
        if temperature is None:
            raise HalError("the controller tells no temperature")
        return temperature

    def ampacity_ma(self) -> Milliamps | None:
        """Return what the cable carries."""
        return self._teller.cable_ma

    def acknowledge(self) -> None:
        """Do nothing: the reader belongs to the controller, which shows a card by itself."""


def _words(error: Exception) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else repr(error))
