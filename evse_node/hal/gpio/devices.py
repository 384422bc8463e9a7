"""Hardware of a board while it is open: opened, made safe and closed together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Protocol

from evse_node.errors import HalError
from evse_node.hal.gpio.board import (
    EMERGENCY_STOP,
    HEARTBEAT,
    LOCK_FEEDBACK,
    RCD_RESET,
    RCD_TEST,
    RCD_TRIP,
    Board,
)
from evse_node.hal.gpio.contactor import ContactorDriver
from evse_node.hal.gpio.drivers import Drivers, OutputLine
from evse_node.hal.gpio.meters import PolledMeter, PulseMeter
from evse_node.hal.gpio.outputs import Lamp, MotorLock
from evse_node.hal.gpio.pilot_adc import BoardProbe
from evse_node.hal.gpio.rcd import Rcd
from evse_node.hal.gpio.readers.card_reader import CardPoller
from evse_node.hal.gpio.sampler import Finding, PilotSampler
from evse_node.hal.gpio.self_check import SelfCheck
from evse_node.hal.gpio.specs import ButtonSpec
from evse_node.hal.gpio.square_wave import SquareWave
from evse_node.hal.gpio.thermometers import PolledThermometer
from evse_node.hal.gpio.watchdog import Watchdogs
from evse_node.platform.systemd import ServiceManager

_LOGGER: Final = logging.getLogger(__name__)


class _Closable(Protocol):
    def close(self) -> None:
        """Release the hardware."""


class Parts:
    """Everything that `GpioBackend` works with between `start` and `stop`.

    The contactor's lines are opened first, so that they are off if anything later fails.
    """

    def __init__(
        self,
        board: Board,
        drivers: Drivers,
        *,
        report: Callable[[Finding], None],
        report_card: Callable[[bytes], None],
        clock: Callable[[], float],
        service_manager: ServiceManager | None = None,
    ) -> None:
        self._board = board
        self._closing = ExitStack()
        self._outputs: dict[str, OutputLine] = {}
        try:
            self._open(board, drivers, report, report_card, clock, service_manager)
        except OSError as error:
            self.close()
            raise HalError(f"{board.name}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        board: Board,
        drivers: Drivers,
        report: Callable[[Finding], None],
        report_card: Callable[[bytes], None],
        clock: Callable[[], float],
        service_manager: ServiceManager | None,
    ) -> None:
        for name, spec in board.outputs().items():
            self._outputs[name] = line = drivers.open_output(name, spec)
            self._keep(line)
        coils = [self._outputs[name] for name in self._outputs if name.startswith("contactor")]
        self.waves: list[SquareWave] = []
        self.heartbeat = self._make_heartbeat(board, clock)
        is_always = board.heartbeat is not None and board.heartbeat.is_always
        self.contactor = ContactorDriver(coils, None if is_always else self.heartbeat)
        self.pwm = drivers.open_pwm(board.pilot)
        self._keep(self.pwm)
        self.inputs = drivers.open_inputs(board.inputs())
        self._keep(self.inputs)
        self._mirrors = [name for name in board.inputs() if name.startswith("contactor")]
        adc = drivers.open_adc(board.adc)
        self._keep(adc)
        self.sampler = PilotSampler(
            BoardProbe(adc, board),
            self.contactor.try_open,
            report,
            alarms={
                name: self._reader(name)
                for name in (RCD_TRIP, EMERGENCY_STOP)
                if name in board.inputs()
            },
            has_cable=board.proximity is not None,
            now=clock(),
        )
        self._open_meters(board, drivers, clock)
        self.cards: CardPoller | None = None
        if board.rfid is not None:
            self.cards = CardPoller(drivers.open_rfid(board.rfid), report_card, clock)
            self._keep(self.cards)
        self.thermometer: PolledThermometer | None = None
        if board.temperature is not None:
            source = drivers.open_temperature(board.temperature)
            self.thermometer = PolledThermometer(source, board.temperature.limit_s, clock)
            self._keep(self.thermometer)
        self.rcd = self._make_rcd(board, clock)
        self._make_lock_and_lamp(board, clock)
        self.is_diagnosing = False
        self.check = self._new_check(steps_on_pilot=True)
        if self.heartbeat is not None and is_always:
            self.heartbeat.start()
        # Last: it must be fed from here on.
        self.watchdogs = Watchdogs(board.watchdog, service_manager)
        self._keep(self.watchdogs)

    def poll_meters(self) -> None:
        """Read each meter once, in sequence: they may share a serial line."""
        for meter in (self.meter, self.grid_meter):
            if meter is not None:
                meter.poll()

    def _keep(self, part: _Closable) -> None:
        def close() -> None:
            try:
                part.close()
            except Exception:
                _LOGGER.exception("a part cannot be closed")

        self._closing.callback(close)

    def _open_meters(self, board: Board, drivers: Drivers, clock: Callable[[], float]) -> None:
        is_shared = board.is_meter_port_shared
        self.grid_meter: PolledMeter | None = None
        if board.grid_meter is not None:
            source = drivers.open_meter(board.grid_meter, is_port_shared=is_shared)
            self.grid_meter = PolledMeter(source, board.grid_meter.limit_s, clock)
            self._keep(self.grid_meter)
        self.meter: PolledMeter | None = None
        self.pulses: PulseMeter | None = None
        spec = board.meter
        if spec is None:
            return
        if spec.pulses_per_kwh is not None:
            self.pulses = PulseMeter(spec.pulses_per_kwh, board.ratings, clock)
            return
        source = drivers.open_meter(spec, is_port_shared=is_shared)
        self.meter = PolledMeter(source, spec.limit_s, clock)
        self._keep(self.meter)

    def _make_heartbeat(self, board: Board, clock: Callable[[], float]) -> SquareWave | None:
        spec = board.heartbeat
        if spec is None:
            return None
        wave = SquareWave(
            HEARTBEAT,
            self._outputs[HEARTBEAT],
            spec.interval_ms / 1000,
            clock=clock,
            may_run=self._may_beat,
            limit_s=spec.limit_ms / 1000,
        )
        self.waves.append(wave)
        return wave

    def _is_watched(self, now: float) -> bool:
        return self.sampler.is_watched(now)

    def _may_beat(self, now: float) -> bool:
        """Return whether to toggle; without, the board drops a coil that cannot be driven."""
        return self._is_watched(now) and not self.contactor.is_broken

    def _make_rcd(self, board: Board, clock: Callable[[], float]) -> Rcd | None:
        spec = board.rcd
        if spec is None:
            return None
        test, wave = self._outputs.get(RCD_TEST), None
        if test is not None and spec.test_hz:
            interval_s = 0.5 / spec.test_hz
            wave = SquareWave(RCD_TEST, test, interval_s, clock=clock, may_run=self._is_watched)
            self.waves.append(wave)
        return Rcd(
            self._reader(RCD_TRIP),
            test=test,
            wave=wave,
            reset=self._outputs.get(RCD_RESET),
            pulse_s=spec.reset_ms / 1000,
        )

    def _make_lock_and_lamp(self, board: Board, clock: Callable[[], float]) -> None:
        self.lock: MotorLock | None = None
        if board.lock is not None:
            self.lock = MotorLock(
                self._outputs["lock"],
                self._outputs.get("unlock"),
                board.lock.pulse_ms / 1000,
                read_locked=self._read_locked,
                may_unlock=lambda: not self.is_closed(),
                clock=clock,
            )
        self.lamp: Lamp | None = None
        if board.led is not None:
            self.lamp = Lamp(self._outputs["LED"], clock)
        self.buttons: dict[str, ButtonSpec] = {
            f"button {number}": button for number, button in enumerate(board.buttons, 1)
        }

    def _reader(self, name: str) -> Callable[[], bool]:
        return lambda: self.inputs.is_active(name)

    def _read_locked(self) -> bool | None:
        lock = self._board.lock
        if lock is None or lock.feedback is None:
            return None
        return self.inputs.is_active(LOCK_FEEDBACK)

    def begin_check(self, *, steps_on_pilot: bool) -> None:
        """Start a self-test in place of a running one; the backend ticks it.

        Raises HalError, and keeps the running one, when its lines cannot be driven.
        """
        if self.check.failure is None:
            try:
                self.check.end()
            except OSError as error:
                raise HalError(f"the RCD's lines cannot be driven: {error}") from error
        self.check = self._new_check(steps_on_pilot=steps_on_pilot)

    def _new_check(self, *, steps_on_pilot: bool) -> SelfCheck:
        return SelfCheck(self.pwm, self.sampler, self.rcd, steps_on_pilot=steps_on_pilot)

    def is_closed(self) -> bool:
        """Return the state of the mirror contacts, or without any, the ordered state.

        Two contactors count as closed when both are, and as open when both are.
        """
        ordered = self.contactor.is_ordered_closed
        if not self._mirrors:
            return ordered
        closed = [self.inputs.is_active(name) for name in self._mirrors]
        return all(closed) if ordered else any(closed)

    def make_safe(self) -> None:
        """Open the contactor and withdraw the offer. Never raises."""
        self.contactor.try_open()
        for wave in self.waves:
            wave.stop()
        for name, line in self._outputs.items():
            if name in (HEARTBEAT, RCD_TEST, RCD_RESET, "LED"):
                self._try(line.set)
        if self.lock is not None:
            self._try(lambda _: self.lock.release() if self.lock is not None else None)
        self._try(lambda _: self.pwm.drive(1000))

    def _try(self, act: Callable[[bool], None]) -> None:
        try:
            act(False)
        except Exception as error:
            _LOGGER.error("not everything can be made safe: %s", error)

    def close(self) -> None:
        """Release everything, last opened first. May be repeated."""
        self._closing.close()
