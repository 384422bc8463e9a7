"""The backend of an external EVSE controller: a task that polls its link.

Such a controller drives pilot and contactor itself. While enabled it closes as soon as the
vehicle is ready; it has no order for PWM alone. So an offer enables it, and the machine must
order to close as soon as state C is reported; otherwise the controller is disabled at once.

Orders are stored and wake the task; the latest win. `poller` has the steps of a poll. Tests may
call `poll` with a link and a clock of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.capabilities import Actuators
from evse_node.hal.external.link import ControllerStatus, Link, describe
from evse_node.hal.external.poller import Poller, PollTimings
from evse_node.hal.external.shutdown import ShutdownSequence
from evse_node.hal.interface import HalEvent, HalInbox, MeterValues, Ratings
from evse_node.platform.systemd import Liveness, ServiceManager
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)
BEFORE_START_S: Final = 3.0
_FRESH_S: Final = 10.0


class ExternalController:
    """An `EvseBackend` over a link. `clock` returns monotonic seconds."""

    def __init__(
        self,
        link: Link,
        ratings: Ratings,
        *,
        timings: PollTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
        service_manager: ServiceManager | None = None,
    ) -> None:
        self.ratings = ratings
        self.timings = timings or PollTimings()
        self._link = link
        self._clock = clock
        self._post: HalInbox | None = None
        self._task: asyncio.Task[None] | None = None
        self._status_before_start = StatusBeforeStart(link, clock)
        self._liveness = Liveness(service_manager)
        # Held during start and stop.
        self._lifecycle = asyncio.Lock()
        self._is_started = False
        self._poller = self._new_poller()

        traits = link.traits
        self.control_pilot = self
        self.contactor = actuators = Actuators(self)
        self.proximity_pilot = self if traits.has_proximity else None
        self.lock = actuators if traits.has_lock else None
        self.meter = actuators if traits.has_meter else None
        self.grid_meter = None
        self.rfid_reader = self if traits.has_cards else None
        self.residual_current_device = None
        self.temperature_sensor = self if traits.has_thermometer else None
        self.self_test = self if traits.self_test_s is not None else None
        self.discharger = None
        self.battery_information = None
        self.vehicle_identification = None

    def _new_poller(self) -> Poller:
        return Poller(self._link, self.ratings, self.timings, self._clock, self._forward)

    def _forward(self, event: HalEvent) -> None:
        if self._post is not None:
            self._post(event)

    # EvseBackend

    async def start(self, post: HalInbox) -> None:
        """Open the contactor, report the status, and poll until `stop`."""
        await self.attach(post)
        self._task = task = asyncio.create_task(self._run(), name="evse-controller")
        self._liveness.begin(lambda: not task.done())

    async def attach(self, post: HalInbox) -> None:
        """Start without a task: the caller poller."""
        if self._is_started:
            raise HalError("the backend is already running")
        self._is_started = True
        self._poller = self._new_poller()
        async with self._lifecycle:
            try:
                await self._begin(post)
            except BaseException as error:
                # An earlier run may have left it enabled. After a start that timed out, one more
                # attempt to disable it is enough.
                has_timed_out = isinstance(error, HalError) and not self._poller.is_stopping
                await self._shut_down(repeats=not has_timed_out)
                raise

    async def _begin(self, post: HalInbox) -> None:
        poller = self._poller
        self._post = post
        deadline = self._clock() + self.timings.start_s
        await poller.poll()
        while not poller.differ.is_complete and not poller.is_stopping:
            if self._clock() > deadline:
                raise HalError(f"the controller cannot be used: {poller.failure}")
            await poller.pause()
            await poller.poll()
        if poller.is_stopping:
            raise HalError("the backend was stopped before it had started")

    async def stop(self) -> None:
        """Disable the controller, which opens its contactor, and close the port.

        A poll that is under way is finished first: an aborted request would block the bus for a
        while. A controller that could not be disabled is logged as an error.
        """
        self._post = None
        self._liveness.end()
        self._poller.end()
        async with self._lifecycle:
            if self._is_started:
                await self._shut_down()

    async def _shut_down(self, *, repeats: bool = True) -> None:
        self._post = None
        poller = self._poller
        poller.end()
        shutdown = ShutdownSequence(self._link, self.timings.retry_s)
        failure = "the stop was cancelled"
        try:
            await self._end_task()
            shutdown.is_open = poller.is_open
            async with asyncio.timeout(self.timings.stop_s):
                failure = await shutdown.run(repeats=repeats)
        except TimeoutError:
            failure = shutdown.failure
        finally:
            if failure:
                _LOGGER.error("the controller could not be disabled: %s", failure)
            try:
                await poller.close_link()
            finally:
                self._is_started = False

    async def _end_task(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=self.timings.call_s + self.timings.close_s)
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=self.timings.close_s)

    async def _run(self) -> None:
        poller, last_error = self._poller, ""
        while True:
            await poller.pause()
            if poller.is_stopping:
                return
            try:
                await poller.poll()
            except Exception as error:
                # An exception of the listener must neither end the polls nor repeat without a
                # pause, nor fill the log.
                if repr(error) != last_error:
                    last_error = repr(error)
                    _LOGGER.exception("processing the controller's status failed")
                await asyncio.sleep(self.timings.retry_s)

    def next_poll_s(self) -> float:
        return self._poller.next_poll_s()

    async def poll(self) -> None:
        await self._poller.poll()

    # Orders

    def _require_link(self) -> None:
        if self._post is None:
            raise HalError("no controller: the backend is not started")
        if self._poller.is_lost:
            raise HalError(f"the controller is lost: {self._poller.failure}")

    def offer(self, current_ma: Milliamps) -> None:
        """Enable the controller with this current."""
        self._require_link()
        self._poller.desired.offer(current_ma)
        self._poller.wake()

    def withdraw(self) -> None:
        """Disable the controller, which leaves the vehicle the time to stop."""
        self._poller.desired.withdraw()
        self._poller.wake()

    def signal_unavailable(self) -> None:
        """Put -12 V on the pilot, and open at once."""
        self._poller.desired.signal_unavailable()
        self._poller.wake()

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor. Closing raises HalError when there is a reason not to."""
        desired, differ = self._poller.desired, self._poller.differ
        if is_closed:
            self._require_link()
            if differ.faults:
                names = ", ".join(sorted(fault.value for fault in differ.faults))
                raise HalError(f"the contactor stays open: {names}")
            if desired.offer_ma is None or desired.is_unavailable:
                raise HalError("the contactor stays open: no current is offered")
            desired.close()
        else:
            desired.open(is_ready=differ.pilot is not None and differ.pilot.is_ready)
        self._poller.wake()

    def order_locked(self, is_locked: bool) -> None:
        """Move the lock. A lost controller unlocks once it has recovered and is open."""
        if is_locked:
            self._require_link()
        self._poller.desired.is_locked = is_locked
        self._poller.wake()

    def start_self_test(self) -> None:
        """Open, then start the controller's self-test."""
        self._require_link()
        self._poller.desired.is_testing = True
        self._poller.wake()

    # Readings

    def status(self) -> ControllerStatus:
        """Return the newest status. Before `start`, read it from the controller."""
        if not self._is_started:
            return self._status_before_start.status()
        status = self._poller.differ.status
        if status is None or self._poller.is_lost:
            raise HalError(f"the controller does not answer: {self._poller.failure}")
        return status

    def read_meter(self) -> MeterValues:
        """Return the newest measured values. Raises HalError when there are none."""
        values = self.status().meter
        if values is None:
            raise HalError("the controller reports no measured values")
        return values

    def read_millicelsius(self) -> int:
        temperature = self.status().temperature_millicelsius
        if temperature is None:
            raise HalError("the controller reports no temperature")
        return temperature

    def acknowledge(self) -> None:
        """Do nothing: the controller confirms cards itself."""


class StatusBeforeStart(Struct, eq=False):
    """Status of a controller before the backend starts, cached for some seconds."""

    link: Link
    clock: Callable[[], float]
    _result: tuple[ControllerStatus | HalError, float] | None = None

    def status(self) -> ControllerStatus:
        """Return the cached status, or read it. Raises HalError."""
        now = self.clock()
        if self._result is None or now - self._result[1] > _FRESH_S:
            try:
                self._result = (read_before_start(self.link), now)
            except HalError as error:
                self._result = (error, now)
        answer = self._result[0]
        if isinstance(answer, HalError):
            raise HalError(str(answer))
        return answer


def read_before_start(link: Link, limit_s: float = BEFORE_START_S) -> ControllerStatus:
    """Read the status of a controller whose link is not in use.

    It runs in a thread with an event loop of its own, and blocks for up to the limit. Raises
    HalError.
    """
    results: list[ControllerStatus | HalError] = []

    def run() -> None:
        try:
            results.append(asyncio.run(_read(link, limit_s)))
        except Exception as error:
            # Includes programming errors of a link, which must not end the thread silently.
            results.append(HalError(f"the controller does not answer: {describe(error)}"))

    thread = threading.Thread(target=run, name="evse-controller", daemon=True)
    thread.start()
    thread.join(limit_s + 1.0)
    answer = results[0] if results else HalError("the controller's port hangs")
    if isinstance(answer, HalError):
        raise answer
    return answer


async def _read(link: Link, limit_s: float) -> ControllerStatus:
    async with asyncio.timeout(limit_s):
        try:
            await link.open(lambda: None)
            return await link.read_status()
        finally:
            await link.close()
