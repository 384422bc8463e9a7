"""GPIO backend: the parts of a board behind the capabilities of `hal.interface`.

In a node, `start` runs the threads of sampler and pollers, and the tick. A test calls `attach`,
then `sample`, `tick` and `poll_…` with drivers and a clock of its own.

The sampler's thread measures and opens; the loop's thread does all else, and it alone closes.
Each supervises the other.
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
from evse_node.hal.gpio import fault_causes
from evse_node.hal.gpio.board import PULSE, RCD_TRIP, Board
from evse_node.hal.gpio.commands import BoardOrders
from evse_node.hal.gpio.devices import Parts
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.meters import METER_POLL_S
from evse_node.hal.gpio.readers.card_reader import CARD_POLL_S
from evse_node.hal.gpio.sampler import (
    CONFIRM_S,
    SAMPLER_LIMIT_S,
    CableSettled,
    CauseChanged,
    Finding,
    PilotSettled,
)
from evse_node.hal.gpio.specs import CardButtonSpec
from evse_node.hal.gpio.square_wave import SquareWave
from evse_node.hal.gpio.thermometers import TEMPERATURE_POLL_S
from evse_node.hal.interface import HalInbox
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.events import (
    CableChanged,
    PilotChanged,
    RfidTapped,
)

_LOGGER: Final = logging.getLogger(__name__)

TICK_S: Final = 0.02
_START_LIMIT_S: Final = 10.0
# Longest wait of a thread for the interpreter; the default is ten times that.
_SWITCH_INTERVAL_S: Final = 0.0005
# A board waits for the next edge of its heartbeat for less time than one sample takes.
_SAMPLER_PRIORITY: Final = 10
_WAVE_PRIORITY: Final = 11
# Keeps the contactor from chattering when the pilot drops to -12 V with each offer.
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
        self._threads: list[threading.Thread] = []
        self._halt = threading.Event()
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
        """Open the hardware, test it, and run until `stop`."""
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
        self._add_readers(parts)
        self._on_timer()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), _START_LIMIT_S)
        parts.watchdogs.ready()

    async def stop(self) -> None:
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
            _remove_readers(loop, parts)
        parts.make_safe()
        for thread in self._threads:
            thread.join(1.0)
        self._threads.clear()
        parts.close()

    def attach(self, post: HalInbox) -> None:
        """Open the hardware and report events to an inbox, without threads.

        Raises HalError, with everything released, when a part is missing.
        """
        if self._parts is not None:
            raise HalError("the backend runs already")
        self._parts = Parts(
            self.board,
            self._drivers,
            report=lambda finding: self._run_in_loop(partial(self._on_finding, finding)),
            report_card=lambda uid: self._run_in_loop(partial(self._report, RfidTapped(uid))),
            clock=self._clock,
            service_manager=self._service_manager,
        )
        self._post = post
        self._output, self._duty_permille = PilotOutput.X1, 1000
        self._reported_pilot = self._reported_closed = None
        self._meter_answered = False
        self._pilot_right_since = None
        self._is_demand_tested = False
        self._resets_until = None
        self._are_edges_lost = False
        self.causes = fault_causes.FaultCauses(self._report)
        self._update_feedback()

    # Threads

    def _run_thread(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=f"evse-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run_sampler(self) -> None:
        halt, sampler = self._halt, self._open_parts.sampler
        _raise_priority(_SAMPLER_PRIORITY)
        pause_s = 0.0
        while not halt.wait(pause_s):
            began = self._clock()
            sampler.sample(began)
            # Leave half of the time to threads of lower priority.
            pause_s = sampler.interval_s
            if pause_s > CONFIRM_S:
                pause_s = max(pause_s, self._clock() - began)

    def _run_wave(self, wave: SquareWave) -> None:
        _raise_priority(_WAVE_PRIORITY)
        wave.run(self._halt)

    def _run_poller(self, poll: Callable[[], None], interval_s: float) -> None:
        halt = self._halt
        while not halt.is_set():
            poll()
            halt.wait(interval_s)

    def _run_in_loop(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None:
            act()
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(act)

    def sample(self) -> None:
        """Take one sample; for a test."""
        if self._parts is not None:
            self._parts.sampler.sample(self._clock())

    def beat(self) -> None:
        """Toggle each square wave once; for a test."""
        if self._parts is not None:
            for wave in self._parts.waves:
                wave.beat(self._clock())

    def poll_meter(self) -> None:
        """Read the meters once."""
        if self._parts is not None:
            self._parts.poll_meters()

    def poll_cards(self) -> None:
        """Poll the card reader once."""
        if self._parts is not None and self._parts.cards is not None:
            self._parts.cards.poll()

    def poll_temperature(self) -> None:
        """Read the thermometer once."""
        if self._parts is not None and self._parts.thermometer is not None:
            self._parts.thermometer.poll()

    # The loop's thread

    def _on_timer(self) -> None:
        if self._loop is None:
            return
        self._timer = self._loop.call_later(TICK_S, self._on_timer)
        try:
            self.tick()
        except Exception as error:
            if repr(error) != self._error:  # a repeated error must not fill the log
                self._error = repr(error)
                _LOGGER.exception("the backend's tick failed")
            if self._parts is not None:
                self._parts.contactor.try_open()
            self.causes.set(fault_causes.BACKEND_FAILED, True)

    def tick(self) -> None:
        """Supervise the sampler, advance tests and slow outputs, and feed the watchdogs."""
        parts = self._parts
        if parts is None:
            return
        now = self._clock()
        parts.sampler.loop_beat_at = now
        is_sampler_alive = now - parts.sampler.beat_at <= SAMPLER_LIMIT_S
        if not is_sampler_alive:
            parts.contactor.try_open()
        self.causes.set(fault_causes.SAMPLER_STUCK, not is_sampler_alive)
        right_since = self._pilot_right_since
        if right_since is not None and now - right_since >= _PILOT_RIGHT_S:
            self.causes.set(fault_causes.PILOT_LOW, False)
        if parts.heartbeat is not None and parts.heartbeat.failure:
            parts.contactor.try_open()
            self.causes.set(fault_causes.HEARTBEAT_FAILED, True)
        if self._are_edges_lost:
            self.on_edges()
        self._tick_reset(parts, now)
        self._tick_check(parts, now)
        self._update_feedback()
        if parts.meter is not None:
            self._tick_meter(parts, now)
        if parts.lock is not None:
            parts.lock.tick(now)
            self.causes.set(fault_causes.LOCK_FAILED, parts.lock.has_failed)
        if parts.lamp is not None:
            parts.lamp.tick(
                now, is_powered=bool(self._reported_closed), is_faulty=bool(self.causes.all)
            )
        if is_sampler_alive:
            parts.watchdogs.feed(now)

    def _on_finding(self, finding: Finding) -> None:
        parts = self._parts
        if parts is None:
            return
        match finding:
            case PilotSettled(pilot, _, epoch):
                if parts.check.failure is None or epoch != parts.sampler.epoch:
                    return  # caused by the test, or obsolete
                self._on_pilot(pilot)
            case CableSettled(ampacity_ma):
                self._report(CableChanged(ampacity_ma))
            case CauseChanged(cause, is_present):
                if cause != RCD_TRIP or not parts.check.tests_rcd:
                    self.causes.set(cause, is_present)
        self._update_feedback()

    def _on_pilot(self, pilot: PilotState) -> None:
        """Report the pilot. -12 V without an order is a fault until it was absent for a while."""
        if pilot is PilotState.F and self._output is not PilotOutput.F:
            self._pilot_right_since = None
            self.causes.set(fault_causes.PILOT_LOW, True)
        if self._tests_before_reporting(pilot):
            return
        if pilot is not self._reported_pilot:
            self._reported_pilot = pilot
            self._report(PilotChanged(pilot))
        if pilot is not PilotState.F and self._pilot_right_since is None:
            self._pilot_right_since = self._clock()
        if pilot is PilotState.A:
            self.causes.set(fault_causes.PILOT_LOW, False)
            self.reset()

    def _add_readers(self, parts: Parts) -> None:
        if self._loop is not None:
            for fd in parts.inputs.filenos():
                self._loop.add_reader(fd, self.on_edges)

    def on_edges(self) -> None:
        """Handle pending edges of the input lines."""
        parts = self._parts
        if parts is None:
            return
        try:
            edges = list(parts.inputs.read_edges())
        except Exception as error:
            # The loop would call again at once: the tick retries instead.
            if self._loop is not None and not self._are_edges_lost:
                _remove_readers(self._loop, parts)
            self._are_edges_lost = True
            self._on_inputs_lost(parts, error)
            return
        if self._are_edges_lost:
            self._are_edges_lost = False
            self._add_readers(parts)
        for edge in edges:
            if edge.is_active and edge.name in fault_causes.LATCHED:
                parts.contactor.try_open()
                # The sampler reports it, too, if it lasts long enough.
                if edge.name != RCD_TRIP or not parts.check.tests_rcd:
                    self.causes.latch(edge.name)
            if edge.is_active and parts.pulses is not None and edge.name == PULSE:
                parts.pulses.on_pulse(edge.timestamp_ns)
            button = parts.buttons.get(edge.name)
            if edge.is_active and button is not None:
                if isinstance(button, CardButtonSpec):
                    self._report(RfidTapped(bytes.fromhex(button.uid)))
                else:
                    self.reset()
        self._update_feedback()


def _remove_readers(loop: asyncio.AbstractEventLoop, parts: Parts) -> None:
    for fd in parts.inputs.filenos():
        loop.remove_reader(fd)


def _raise_priority(priority: int) -> None:
    """Give this thread real-time priority, where the system allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
