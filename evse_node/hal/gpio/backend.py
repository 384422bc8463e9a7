"""The GPIO backend: a board's parts behind the capabilities of `hal.interface`.

In a node, `start` runs the sampler's thread, the pollers' and the tick. In a test, `attach`
an inbox and call `sample`, `tick` and `poll` with drivers and a clock of your own.

Who may do what: the sampler's thread measures and opens; the loop's thread does all the
rest, and alone closes. Each watches the other's heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.capabilities import Actuators
from evse_node.hal.gpio import fault_causes as why
from evse_node.hal.gpio.board import PULSE, RCD_TRIP, Board
from evse_node.hal.gpio.commands import BoardOrders
from evse_node.hal.gpio.devices import Parts
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.meters import METER_POLL_S
from evse_node.hal.gpio.readers.card_reader import CARD_POLL_S
from evse_node.hal.gpio.sampler import (
    CONFIRM_S,
    SAMPLER_LIMIT_S,
    CableSeen,
    Finding,
    PilotSeen,
    TroubleSeen,
)
from evse_node.hal.gpio.specs import CardButtonSpec
from evse_node.hal.gpio.square_wave import SquareWave
from evse_node.hal.gpio.thermometers import TEMPERATURE_POLL_S
from evse_node.hal.interface import HalInbox
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.events import (
    CableChanged,
    FaultCleared,
    PilotChanged,
    RfidTapped,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState

_LOGGER: Final = logging.getLogger(__name__)

TICK_S: Final = 0.02
_START_LIMIT_S: Final = 10.0
# A thread that waits for the interpreter gets it within this; the default is ten times that.
_SWITCH_INTERVAL_S: Final = 0.0005
# A board waits for the next edge of its heartbeat for less time than one look takes.
_SAMPLER_PRIORITY: Final = 10
_WAVE_PRIORITY: Final = 11
# A pilot that falls to -12 V with each offer must not make the contactor chatter.
_PILOT_RIGHT_S: Final = 30.0


class GpioBackend(BoardOrders):
    """An `EvseBackend` on lines, PWM and converter. `clock` returns monotonic seconds."""

    def __init__(
        self,
        board: Board,
        drivers: Drivers,
        *,
        clock: Callable[[], float] = time.monotonic,
        service_manager: ServiceManager | None = None,
    ) -> None:
        super().__init__(board, drivers, clock)
        self.ratings = board.ratings
        self._service_manager = service_manager
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ready: asyncio.Event | None = None
        self._threads: list[threading.Thread] = []
        self._halt = threading.Event()
        self._meter_answered = False
        self._pilot_right_since: float | None = None
        self._error = ""

        self.control_pilot = self
        self.contactor = actuators = Actuators(self)
        self.proximity_pilot = None if board.proximity is None else self
        self.lock = None if board.lock is None else actuators
        self.meter = None if board.meter is None else actuators
        self.grid_meter = None if board.grid_meter is None else self
        has_cards = board.rfid is not None or any(
            isinstance(button, CardButtonSpec) for button in board.buttons
        )
        self.rfid_reader = self if has_cards else None
        self.residual_current_device = None if board.rcd is None else self
        self.temperature_sensor = None if board.temperature is None else self
        self.self_test = self
        self.discharger = None
        self.battery_information = None
        self.vehicle_identification = None

    # EvseBackend

    async def start(self, post: HalInbox) -> None:
        """Take the hardware in hand, test it, and run until `stop`."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        self._ready = asyncio.Event()
        self.attach(post)
        self._loop = asyncio.get_running_loop()
        parts = self._open_parts
        self._halt = threading.Event()
        self._run_thread("pilot", self._run_sampler)
        for wave in parts.waves:
            self._run_thread(wave.name, partial(self._run_wave, wave))
        if parts.meter is not None or parts.grid_meter is not None:
            self._run_thread("meter", lambda: self._run_poller(self.poll_meter, METER_POLL_S))
        if parts.cards is not None:
            self._run_thread("rfid", lambda: self._run_poller(self.poll_cards, CARD_POLL_S))
        if parts.thermometer is not None:
            poll = self.poll_temperature
            self._run_thread("temperature", lambda: self._run_poller(poll, TEMPERATURE_POLL_S))
        self._listen(parts)
        self._on_timer()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), _START_LIMIT_S)
        parts.watchdogs.ready()

    async def stop(self) -> None:
        """Open the contactor, withdraw the offer, let go of the hardware. May be repeated."""
        self._post = None
        parts, self._parts = self._parts, None
        loop, self._loop = self._loop, None
        self._halt.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parts is None:
            return
        if loop is not None:
            _ignore(loop, parts)
        parts.make_safe()
        for thread in self._threads:
            thread.join(1.0)
        self._threads.clear()
        parts.close()

    def attach(self, post: HalInbox) -> None:
        """Open the hardware and tell events to an inbox, without running by itself.

        Raises HalError, with everything let go of, when something is not there.
        """
        if self._parts is not None:
            raise HalError("the backend runs already")
        self._parts = Parts(
            self.board,
            self._drivers,
            tell=self._from_thread,
            tell_card=self._card_from_thread,
            clock=self._clock,
            service_manager=self._service_manager,
        )
        self._post = post
        self._output, self._duty_permille = PilotOutput.X1, 1000
        self._told_pilot = self._told_closed = None
        self._meter_answered = False
        self._pilot_right_since = None
        self._is_demand_tested = False
        self._resets_until = None
        self._are_edges_lost = False
        self.causes = why.FaultCauses(self._tell)
        self._update_feedback()

    # Threads

    def _run_thread(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=f"evse-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run_sampler(self) -> None:
        halt, sampler = self._halt, self._open_parts.sampler
        _go_before_others(_SAMPLER_PRIORITY)
        pause_s = 0.0
        while not halt.wait(pause_s):
            began = self._clock()
            sampler.sample(began)
            # Going before all others, it leaves them half of the time.
            pause_s = sampler.interval_s
            if pause_s > CONFIRM_S:
                pause_s = max(pause_s, self._clock() - began)

    def _run_wave(self, wave: SquareWave) -> None:
        _go_before_others(_WAVE_PRIORITY)
        wave.run(self._halt)

    def _run_poller(self, poll: Callable[[], None], interval_s: float) -> None:
        halt = self._halt
        while not halt.is_set():
            poll()
            halt.wait(interval_s)

    def _from_thread(self, finding: Finding) -> None:
        loop = self._loop
        if loop is None:
            self._on_finding(finding)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._on_finding, finding)

    def _card_from_thread(self, uid: bytes) -> None:
        loop = self._loop
        if loop is None:
            self._tell(RfidTapped(uid))
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._tell, RfidTapped(uid))

    def sample(self) -> None:
        """Take one look at the pilot; for a test."""
        if self._parts is not None:
            self._parts.sampler.sample(self._clock())

    def beat(self) -> None:
        """Put out the next edge of each line that is toggled; for a test."""
        if self._parts is not None:
            for wave in self._parts.waves:
                wave.beat(self._clock())

    def poll_meter(self) -> None:
        """Ask the meters once."""
        if self._parts is not None:
            self._parts.poll_meters()

    def poll_cards(self) -> None:
        """Look for a card once."""
        if self._parts is not None and self._parts.cards is not None:
            self._parts.cards.poll()

    def poll_temperature(self) -> None:
        """Ask the thermometer once."""
        if self._parts is not None and self._parts.thermometer is not None:
            self._parts.thermometer.poll()

    # The loop's side

    def _on_timer(self) -> None:
        if self._loop is None:
            return
        self._timer = self._loop.call_later(TICK_S, self._on_timer)
        try:
            self.tick()
        except Exception as error:
            if repr(error) != self._error:  # one that lasts must not fill the log
                self._error = repr(error)
                _LOGGER.exception("the backend's tick failed")
            if self._parts is not None:
                self._parts.gate.try_open()
            self.causes.set(why.BACKEND_FAILED, True)

    def tick(self) -> None:
        """Watch over the sampler, the self-test and everything slow; feed the watchdogs."""
        parts = self._parts
        if parts is None:
            return
        now = self._clock()
        parts.sampler.loop_beat_at = now
        is_sampler_alive = now - parts.sampler.beat_at <= SAMPLER_LIMIT_S
        if not is_sampler_alive:
            parts.gate.try_open()
        self.causes.set(why.SAMPLER_STUCK, not is_sampler_alive)
        right_since = self._pilot_right_since
        if right_since is not None and now - right_since >= _PILOT_RIGHT_S:
            self.causes.set(why.PILOT_LOW, False)
        if parts.heartbeat is not None and parts.heartbeat.failure:
            parts.gate.try_open()
            self.causes.set(why.HEARTBEAT_FAILED, True)
        if self._are_edges_lost:
            self.on_edges()
        self._tick_reset(parts, now)
        self._tick_check(parts, now)
        self._update_feedback()
        if parts.meter is not None:
            self._tick_meter(parts, now)
        if parts.lock is not None:
            parts.lock.tick(now)
            self.causes.set(why.LOCK_FAILED, parts.lock.has_failed)
        if parts.lamp is not None:
            parts.lamp.tick(
                now, is_powered=bool(self._told_closed), is_faulty=bool(self.causes.all)
            )
        if is_sampler_alive:
            parts.watchdogs.feed(now)

    def _tick_meter(self, parts: Parts, now: float) -> None:
        meter = parts.meter
        if meter is None:
            return
        is_lost = meter.is_lost(now)
        self.causes.set(why.METER_LOST, is_lost)
        if meter.has_answered and not self._meter_answered:
            # The charger may have asked before the first answer, and taken it for lost.
            self._meter_answered = True
            if not is_lost:
                self._tell(FaultCleared(FaultState.METER_FAILURE))

    def _tick_check(self, parts: Parts, now: float) -> None:
        check = parts.check
        if check.failure is None:
            failure = check.tick(now)
            if failure is not None:
                self._end_check(parts, failure)
            return
        # Told earlier, the machine might close onto a pilot that is not known yet.
        is_known = parts.sampler.pilot is not None
        if parts.is_diagnosing and (is_known or check.failure or self.causes.all):
            parts.is_diagnosing = False
            self._tell(SelfTestCompleted())
        if self._ready is not None and (self._told_pilot is not None or check.failure):
            self._ready.set()

    def _end_check(self, parts: Parts, failure: str) -> None:
        try:
            parts.check.end()
            self._drive(parts)
        except Exception as error:
            parts.check.failure = failure = failure or str(error) or repr(error)
        if failure:
            _LOGGER.error("the self-test failed: %s", failure)
        self.causes.set(why.SELF_TEST_FAILED, bool(failure))
        parts.sampler.forget()
        for cause in why.LATCHED:
            self.causes.set(cause, cause in parts.sampler.troubles)
        if not failure:
            self.causes.settle()

    def _on_finding(self, finding: Finding) -> None:
        parts = self._parts
        if parts is None:
            return
        match finding:
            case PilotSeen(pilot, _, era):
                if parts.check.failure is None or era != parts.sampler.era:
                    return  # the test's own doing, or forgotten since
                self._on_pilot(pilot)
            case CableSeen(ampacity_ma):
                self._tell(CableChanged(ampacity_ma))
            case TroubleSeen(cause, is_there):
                if cause != RCD_TRIP or not parts.check.tests_rcd:
                    self.causes.set(cause, is_there)
        self._update_feedback()

    def _on_pilot(self, pilot: PilotState) -> None:
        """-12 V without an order is a fault until the pilot has been right for a while."""
        if pilot is PilotState.F and self._output is not PilotOutput.F:
            self._pilot_right_since = None
            self.causes.set(why.PILOT_LOW, True)
        if self._tests_before_telling(pilot):
            return
        if pilot is not self._told_pilot:
            self._told_pilot = pilot
            self._tell(PilotChanged(pilot))
        if pilot is not PilotState.F and self._pilot_right_since is None:
            self._pilot_right_since = self._clock()
        if pilot is PilotState.A:
            self.causes.set(why.PILOT_LOW, False)
            self.reset()

    def _listen(self, parts: Parts) -> None:
        if self._loop is not None:
            for fd in parts.inputs.filenos():
                self._loop.add_reader(fd, self.on_edges)

    def on_edges(self) -> None:
        """Take in what the input lines tell."""
        parts = self._parts
        if parts is None:
            return
        try:
            edges = list(parts.inputs.read_edges())
        except Exception as error:
            # It would be called again at once: until they can be read, the tick tries that.
            if self._loop is not None and not self._are_edges_lost:
                _ignore(self._loop, parts)
            self._are_edges_lost = True
            self._on_inputs_lost(parts, error)
            return
        if self._are_edges_lost:
            self._are_edges_lost = False
            self._listen(parts)
        for edge in edges:
            if edge.is_active and edge.name in why.LATCHED:
                parts.gate.try_open()
                # The sampler tells it, too, if it was there for long enough to be seen.
                if edge.name != RCD_TRIP or not parts.check.tests_rcd:
                    self.causes.latch(edge.name)
            if edge.is_active and parts.pulses is not None and edge.name == PULSE:
                parts.pulses.on_pulse(edge.timestamp_ns)
            button = parts.buttons.get(edge.name)
            if edge.is_active and button is not None:
                if isinstance(button, CardButtonSpec):
                    self._tell(RfidTapped(bytes.fromhex(button.uid)))
                else:
                    self.reset()
        self._update_feedback()


def _ignore(loop: asyncio.AbstractEventLoop, parts: Parts) -> None:
    for fd in parts.inputs.filenos():
        loop.remove_reader(fd)


def _go_before_others(priority: int) -> None:
    """Let this thread go before all ordinary work of the machine, where the system allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
