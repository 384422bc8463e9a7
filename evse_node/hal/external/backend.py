"""The backend of an external EVSE controller: a task that polls its link.

Such a controller drives pilot and contactor by itself, and while it is enabled it closes as
soon as the vehicle is ready: nobody can ask it for PWM alone. So an offer enables it, and
the machine, told of state C, gives its order to close in the same moment; without that
order the controller is disabled at once.

Orders are noted and wake the task; the newest win. `polls` has what is said and heard in each
round. In a test, call `poll` with a link and a clock of your own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.capabilities import Actuators
from evse_node.hal.external.link import ControllerStatus, Link, words_of
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
        self._early = EarlyReading(link, clock)
        self._liveness = Liveness(service_manager)
        # Held while it begins, and while it ends.
        self._life = asyncio.Lock()
        self._is_in_hand = False
        self._polls = self._new_polls()

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

    def _new_polls(self) -> Poller:
        return Poller(self._link, self.ratings, self.timings, self._clock, self._tell)

    def _tell(self, event: HalEvent) -> None:
        if self._post is not None:
            self._post(event)

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
        self._is_in_hand = True
        self._polls = self._new_polls()
        async with self._life:
            try:
                await self._begin(post)
            except BaseException as error:
                # An earlier run may have left it enabled. Where all this time was too short,
                # one attempt more is enough.
                is_given_up = isinstance(error, HalError) and not self._polls.is_ending
                await self._let_go(is_patient=not is_given_up)
                raise

    async def _begin(self, post: HalInbox) -> None:
        polls = self._polls
        self._post = post
        deadline = self._clock() + self.timings.start_s
        await polls.poll()
        while not polls.teller.is_complete and not polls.is_ending:
            if self._clock() > deadline:
                raise HalError(f"the controller cannot be used: {polls.failure}")
            await polls.pause()
            await polls.poll()
        if polls.is_ending:
            raise HalError("the backend was stopped before it had started")

    async def stop(self) -> None:
        """Disable the controller, which opens its contactor, and let go of it.

        A request that is cut short would keep the next one from a bus for a while, so a poll
        that is under way comes to its end. What could not be disabled is logged as an error.
        """
        self._post = None
        self._liveness.end()
        self._polls.end()
        async with self._life:
            if self._is_in_hand:
                await self._let_go()

    async def _let_go(self, *, is_patient: bool = True) -> None:
        self._post = None
        polls = self._polls
        polls.end()
        disabling = ShutdownSequence(self._link, self.timings.retry_s)
        failure = "it was not waited for"
        try:
            await self._end_polls()
            disabling.is_linked = polls.is_linked
            async with asyncio.timeout(self.timings.stop_s):
                failure = await disabling.run(is_patient=is_patient)
        except TimeoutError:
            failure = disabling.failure
        finally:
            if failure:
                _LOGGER.error("the controller could not be disabled: %s", failure)
            try:
                await polls.unlink()
            finally:
                self._is_in_hand = False

    async def _end_polls(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=self.timings.call_s + self.timings.close_s)
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=self.timings.close_s)

    async def _run(self) -> None:
        polls, mistake = self._polls, ""
        while True:
            await polls.pause()
            if polls.is_ending:
                return
            try:
                await polls.poll()
            except Exception as error:
                # A mistake above must not end the polls, nor be tried again without a pause,
                # nor fill the log.
                if repr(error) != mistake:
                    mistake = repr(error)
                    _LOGGER.exception("what the controller told could not be taken in")
                await asyncio.sleep(self.timings.retry_s)

    def next_poll_s(self) -> float:
        """Return how long to wait before the next poll, if nothing wakes it."""
        return self._polls.next_poll_s()

    async def poll(self) -> None:
        """Give the orders that are new, ask the controller, and tell what changed."""
        await self._polls.poll()

    # Orders

    def _require_link(self) -> None:
        if self._post is None:
            raise HalError("the controller is not in hand: the backend is not started")
        if self._polls.is_lost:
            raise HalError(f"the controller is lost: {self._polls.failure}")

    def offer(self, current_ma: Milliamps) -> None:
        """Enable the controller with this current."""
        self._require_link()
        self._polls.wishes.offer(current_ma)
        self._polls.wake()

    def withdraw(self) -> None:
        """Disable the controller; it lets the vehicle end its current first."""
        self._polls.wishes.withdraw()
        self._polls.wake()

    def signal_unavailable(self) -> None:
        """Put -12 V on the pilot, and open at once."""
        self._polls.wishes.signal_unavailable()
        self._polls.wake()

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor; closing raises HalError when there is a reason not to."""
        wishes, teller = self._polls.wishes, self._polls.teller
        if is_closed:
            self._require_link()
            if teller.faults:
                names = ", ".join(sorted(fault.value for fault in teller.faults))
                raise HalError(f"the contactor stays open: {names}")
            if wishes.offer_ma is None or wishes.is_unavailable:
                raise HalError("the contactor stays open: no current is offered")
            wishes.close()
        else:
            wishes.open(is_ready=teller.pilot is not None and teller.pilot.is_ready)
        self._polls.wake()

    def order_locked(self, is_locked: bool) -> None:
        """Move the lock; a lost controller unlocks when it is back and open."""
        if is_locked:
            self._require_link()
        self._polls.wishes.is_locked = is_locked
        self._polls.wake()

    def start_self_test(self) -> None:
        """Open, and let the controller test itself."""
        self._require_link()
        self._polls.wishes.is_testing = True
        self._polls.wake()

    # Readings

    def status(self) -> ControllerStatus:
        """Return the newest status. Before `start`, the controller itself is asked, once."""
        if not self._is_in_hand:
            return self._early.status()
        status = self._polls.teller.status
        if status is None or self._polls.is_lost:
            raise HalError(f"the controller does not answer: {self._polls.failure}")
        return status

    def read_meter(self) -> MeterValues:
        """Return the newest measured values. Raises HalError when there are none."""
        values = self.status().meter
        if values is None:
            raise HalError("the controller reports no measured values")
        return values

    def read_millicelsius(self) -> int:
        """Return the newest temperature."""
        temperature = self.status().temperature_millicelsius
        if temperature is None:
            raise HalError("the controller tells no temperature")
        return temperature

    def acknowledge(self) -> None:
        """Do nothing: the reader belongs to the controller, which shows a card by itself."""


class EarlyReading:
    """What a controller tells before the backend runs. Who asks soon again gets the same."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._answer: tuple[ControllerStatus | HalError, float] | None = None

    def status(self) -> ControllerStatus:
        """Ask the controller, or return what it told just before. Raises HalError."""
        now = self._clock()
        if self._answer is None or now - self._answer[1] > _FRESH_S:
            try:
                self._answer = (read_once(self._link), now)
            except HalError as error:
                self._answer = (error, now)
        answer = self._answer[0]
        if isinstance(answer, HalError):
            raise HalError(str(answer))
        return answer


def read_once(link: Link, limit_s: float = BEFORE_START_S) -> ControllerStatus:
    """Ask a controller that nobody talks to, from outside of any event loop's work.

    It takes a thread with a loop of its own, and blocks the caller for up to the limit.
    Raises HalError.
    """
    answers: list[ControllerStatus | HalError] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(_ask(link, limit_s)))
        except Exception as error:
            # Whatever it is, a mistake of the link, too, must not end the thread without a word.
            answers.append(HalError(f"the controller does not answer: {words_of(error)}"))

    thread = threading.Thread(target=run, name="evse-controller", daemon=True)
    thread.start()
    thread.join(limit_s + 1.0)
    answer = answers[0] if answers else HalError("the controller's port hangs")
    if isinstance(answer, HalError):
        raise answer
    return answer


async def _ask(link: Link, limit_s: float) -> ControllerStatus:
    async with asyncio.timeout(limit_s):
        try:
            await link.open(lambda: None)
            return await link.read_status()
        finally:
            await link.close()
