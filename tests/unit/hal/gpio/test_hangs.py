"""Every call to a board's drivers hangs while a car is being charged.

`TABLE` is compared with the protocols of `drivers`. A thread of its own may hang for ever and
keeps nothing up. The sampler's hang is seen by the loop, the loop's by the sampler; where both
hang, in the kernel, no watchdog is fed, and systemd ends it with `safe-off`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from enum import Enum

import pytest

from evse_node.hal.gpio import drivers
from evse_node.platform.systemd import ServiceManager
from evse_node.units import Milliamps
from tests.unit.hal.gpio.test_threads import Running

_HANGS_S = 3.5


class Outcome(Enum):
    CONTINUES = "energy flows on"
    LOOP_OPENS = "the loop opens within 1 s"
    SAMPLER_OPENS = "the sampler opens within 2.5 s"
    STARVES = "the watchdogs starve"


def wait(running: Running) -> None:
    """It is called anyway."""


def offer(running: Running) -> None:
    running.backend.control_pilot.offer(Milliamps(10_000))


def flash(running: Running) -> None:
    running.backend.acknowledge()


TABLE: dict[tuple[type[object], str], tuple[str, Callable[[Running], None], Outcome]] = {
    (drivers.Adc, "read"): ("adc", wait, Outcome.LOOP_OPENS),
    (drivers.MeterSource, "read"): ("meter", wait, Outcome.CONTINUES),
    (drivers.CardSource, "poll"): ("rfid", wait, Outcome.CONTINUES),
    (drivers.TemperatureSource, "read"): ("temperature", wait, Outcome.CONTINUES),
    (drivers.PilotPwm, "drive"): ("pwm", offer, Outcome.SAMPLER_OPENS),
    (drivers.OutputLine, "set"): ("LED", flash, Outcome.SAMPLER_OPENS),
    (drivers.Inputs, "is_active"): ("inputs", wait, Outcome.STARVES),
}
# Not called while it runs: by `start`, `stop`, `safe-off`. Edges come only when there are any.
NOT_WHILE_RUNNING = {"close", "filenos", "disable", "read_edges"}


def test_every_driver_call_is_tested_for_hangs() -> None:
    found = {
        (protocol, name)
        for protocol in vars(drivers).values()
        if isinstance(protocol, type)
        and getattr(protocol, "_is_protocol", False)
        and protocol is not drivers.Drivers
        for name, member in vars(protocol).items()
        if callable(member) and not name.startswith("_") and name not in NOT_WHILE_RUNNING
    }
    assert set(TABLE) == found


class Recorder(ServiceManager):
    def __init__(self) -> None:
        super().__init__({})
        self.fed_at: list[float] = []

    def notify(self, text: str) -> None:
        if text == "WATCHDOG=1":
            self.fed_at.append(time.monotonic())


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    made.backend._service_manager = Recorder()
    await made.backend.start(made.events.append)
    yield made
    made.electronics.release.set()
    await made.backend.stop()
    assert not made.electronics.is_powered()


@pytest.mark.slow
@pytest.mark.parametrize("call", TABLE, ids=[f"{each[0].__name__}.{each[1]}" for each in TABLE])
async def test_hanging_driver_call_has_safe_outcome(
    running: Running, call: tuple[type[object], str]
) -> None:
    part, trigger, outcome = TABLE[call]
    electronics = running.electronics
    await running.charge()
    opened_at: list[float] = []

    def watch() -> None:
        """From outside: the loop itself may hang."""
        while not electronics.release.wait(0.01):
            if not opened_at and not electronics.is_powered():
                opened_at.append(time.monotonic())

    threading.Thread(target=watch, daemon=True).start()
    threading.Timer(_HANGS_S, electronics.release.set).start()
    began = time.monotonic()
    electronics.failing.add(f"hang {part}")
    trigger(running)
    await running.until(electronics.release.is_set)
    took_s = opened_at[0] - began if opened_at else None
    recorder = running.backend._service_manager
    assert isinstance(recorder, Recorder)
    released = began + _HANGS_S - 0.1
    fed = [each for each in recorder.fed_at if began + 1.1 < each < released]
    match outcome:
        case Outcome.CONTINUES:
            assert took_s is None
            assert fed
        case Outcome.LOOP_OPENS:
            assert took_s is not None
            assert took_s < 1
            assert not fed
        case Outcome.SAMPLER_OPENS:
            assert took_s is not None
            assert took_s < 2.5
            assert not fed
        case Outcome.STARVES:
            assert not fed
