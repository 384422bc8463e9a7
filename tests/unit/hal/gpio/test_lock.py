"""A lock that jams is driven again, and states its order at each start."""

from __future__ import annotations

from evse_node.hal.gpio.outputs import MotorLock
from evse_node.hal.simulated.backend import SimulatedBackend
from tests.support.charger.charger_host import ChargerHost


class Motor:
    """Two lines and a bolt; the first `jams` pulses do not move it."""

    def __init__(self, jams: int, *, is_locked: bool) -> None:
        self.now = 0.0
        self.jams = jams
        self.is_locked = is_locked
        self.pulses = 0
        self.lock = MotorLock(
            Line(self, True),
            Line(self, False),
            0.5,
            read_locked=lambda: self.is_locked,
            may_unlock=lambda: True,
            clock=lambda: self.now,
        )

    def pulse(self, is_locked: bool) -> None:
        self.pulses += 1
        if self.pulses > self.jams:
            self.is_locked = is_locked

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 50)):
            self.now += 0.02
            self.lock.tick(self.now)


class Line:
    def __init__(self, motor: Motor, is_locked: bool) -> None:
        self._motor, self._is_locked = motor, is_locked

    def set(self, is_active: bool) -> None:
        if is_active:
            self._motor.pulse(self._is_locked)

    def close(self) -> None:
        pass


def test_unlock_pulse_that_jams_is_repeated() -> None:
    motor = Motor(2, is_locked=True)
    motor.lock.unlock()
    motor.wait(2)
    assert not motor.lock.has_failed
    motor.wait(3)
    assert motor.pulses == 3
    assert not motor.is_locked
    assert not motor.lock.has_failed


def test_lock_that_jams_for_good_fails_after_three_pulses() -> None:
    motor = Motor(1_000, is_locked=True)
    motor.lock.unlock()
    motor.wait(60)
    assert motor.pulses == 3
    assert motor.lock.has_failed


def test_plug_that_does_not_lock_is_fault_at_once_and_retried() -> None:
    motor = Motor(1, is_locked=False)
    motor.lock.lock()
    motor.wait(1)
    assert motor.lock.has_failed
    motor.wait(2)
    assert motor.is_locked
    assert not motor.lock.has_failed


def test_plug_left_locked_by_power_cut_is_released_at_start() -> None:
    backend = SimulatedBackend(clock=lambda: 1000.0)
    backend.board.is_locked = True
    host = ChargerHost(backend=backend)
    host.run(1)
    assert not host.backend.board.is_locked
