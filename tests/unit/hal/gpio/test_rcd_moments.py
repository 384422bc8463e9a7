"""Events during a reset or a test of the RCD, and a board that cannot be opened."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from evse_node.cli import doctor
from evse_node.errors import HalError
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.contract.gpio_bench import GpioBench
from tests.support.hal.gpio_electronics import SimulatedElectronics
from tests.unit.hal.gpio.test_pi_evse_hat import Hat, hat

OFFER = Milliamps(16_000)
GROUND_FAULT = FaultState.GROUND_FAULT


@pytest.fixture
def bench() -> Hat:
    made = Hat()
    made.attach()
    return made


def trip_and_reset(bench: Hat) -> None:
    """Trip the RCD while charging, and begin the pulse that resets it."""
    bench.charge()
    bench.electronics.inputs["RCD trip"] = True
    bench.wait(0.1)
    bench.backend.reset()
    bench.wait(0.05)


def demand_in_test(bench: Hat) -> None:
    """Start charging demand during the test of the RCD."""
    bench.plug_in()
    bench.backend.control_pilot.offer(OFFER)
    bench.electronics.vehicle = PilotState.C
    bench.wait(0.1)
    assert bench.backend._open_parts.check.failure is None


# A reset


def test_fault_is_not_acknowledged_during_reset_pulse(bench: Hat) -> None:
    """Or the machine would close onto a latch that is held released."""
    trip_and_reset(bench)
    assert bench.electronics.lines["RCD reset"]
    assert not bench.electronics.inputs["RCD trip"]
    bench.backend.reset()
    assert FaultCleared(GROUND_FAULT) not in bench.events
    with pytest.raises(HalError, match="RCD trip"):
        bench.backend.contactor.close()
    bench.wait(0.3)
    assert not bench.electronics.lines["RCD reset"]
    assert bench.events[-1] == FaultCleared(GROUND_FAULT)


def test_fault_is_not_acknowledged_while_reset_input_is_stuck(bench: Hat) -> None:
    trip_and_reset(bench)
    bench.electronics.failing.add("RCD reset")
    bench.wait(3)
    assert bench.electronics.lines["RCD reset"]
    bench.backend.reset()
    with pytest.raises(HalError, match="RCD trip"):
        bench.backend.contactor.close()
    bench.electronics.failing.clear()
    bench.wait(0.1)
    bench.backend.reset()
    assert bench.events[-1] == FaultCleared(GROUND_FAULT)


def test_interrupted_doctor_leaves_reset_inactive(monkeypatch: pytest.MonkeyPatch) -> None:
    electronics = SimulatedElectronics(hat(), lambda: 10.0)
    electronics.inputs["RCD trip"] = electronics.is_latch_broken = True

    def interrupt(seconds: float) -> None:
        if electronics.lines.get("RCD reset"):
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(doctor.examine(electronics.board, electronics))
    assert electronics.lines["RCD reset"] is False


# A test


def test_state_f_does_not_wait_for_rcd_test(bench: Hat) -> None:
    demand_in_test(bench)
    bench.backend.control_pilot.signal_unavailable()
    assert bench.backend._open_parts.check.failure is None
    assert bench.electronics.duty_permille == 0
    bench.wait(1)
    assert bench.electronics.duty_permille == 0
    assert bench.backend._open_parts.check.failure == ""
    assert bench.events[-1] == PilotChanged(PilotState.F)
    assert PilotChanged(PilotState.C) not in bench.events
    bench.backend.control_pilot.offer(OFFER)
    bench.wait(1)
    assert bench.events[-1] == PilotChanged(PilotState.C)
    assert not [event for event in bench.events if isinstance(event, FaultRaised)]


def test_self_test_during_rcd_test_keeps_pilot_of_vehicle(bench: Hat) -> None:
    demand_in_test(bench)
    duty_permille = bench.electronics.duty_permille
    bench.backend.start_self_test()
    for _ in range(100):
        bench.wait(0.01)
        assert bench.electronics.duty_permille == duty_permille
    assert bench.events[-2:] == [PilotChanged(PilotState.C), SelfTestCompleted()]


def test_vehicle_charges_at_once_after_self_test(bench: Hat) -> None:
    bench.plug_in()
    bench.demand()
    bench.events.clear()
    bench.backend.start_self_test()
    while SelfTestCompleted() not in bench.events:
        bench.wait(0.004)
    bench.backend.control_pilot.offer(OFFER)
    bench.backend.contactor.close()
    assert bench.is_powered()


@pytest.mark.parametrize("part", ["adc", "RCD"])
def test_failing_rcd_test_ends_without_pilot(bench: Hat, part: str) -> None:
    bench.electronics.failing.add(part)
    bench.electronics.ignores_rcd_test = part == "RCD"
    bench.events.clear()
    bench.backend.start_self_test()
    bench.wait(6)
    assert bench.events.count(SelfTestCompleted()) == 1
    assert FaultRaised(FaultState.OTHER) in bench.events


def test_rcd_test_that_cannot_be_stopped_continues_and_fails(bench: Hat) -> None:
    demand_in_test(bench)
    bench.electronics.failing.add("RCD reset")
    with pytest.raises(HalError, match="RCD's lines"):
        bench.backend.start_self_test()
    bench.wait(4)
    assert bench.backend._open_parts.check.failure
    assert FaultRaised(FaultState.OTHER) in bench.events


def test_rcd_test_ends_after_sampler_saw_release() -> None:
    """A trip whose end the sampler missed would be reported as a residual current."""
    for late_ms in range(30):
        bench = GpioBench()
        is_over = late_release(bench, 0.2 + late_ms / 1000)
        bench.backend.attach(bench.events.append)
        look_at = tick_at = bench.now
        for _ in range(1100):
            bench.now += 0.001
            is_over()
            if bench.now >= look_at:
                look_at = bench.now + 0.045
                bench.backend.sample()
            if bench.now >= tick_at:
                tick_at = bench.now + 0.02
                bench.backend.tick()
        assert bench.backend._open_parts.check.failure == ""
        assert FaultRaised(GROUND_FAULT) not in bench.events


def late_release(bench: GpioBench, after_s: float) -> Callable[[], None]:
    """Let the RCD take a while to release."""
    electronics, act = bench.electronics, bench.electronics.on_line
    ends_at: list[float] = []

    def on_line(name: str, is_active: bool) -> None:
        if name == "RCD test" and not is_active and electronics.inputs.get("RCD trip"):
            ends_at.append(bench.now + after_s)
        else:
            act(name, is_active)

    def pass_on() -> None:
        if ends_at and bench.now >= ends_at[0]:
            ends_at.clear()
            electronics.inputs["RCD trip"] = False

    electronics.on_line = on_line  # type: ignore[method-assign]
    return pass_on


# What cannot be driven


def test_stuck_coil_stops_permanent_heartbeat() -> None:
    board = hat()
    assert board.heartbeat is not None
    bench = Hat(replace(board, heartbeat=replace(board.heartbeat, phase="always")))
    bench.attach()
    bench.charge()
    coil = bench.backend._open_parts.contactor._coils[0]
    coil.close = lambda: None  # type: ignore[method-assign]
    bench.electronics.failing.add("contactor 1")
    bench.no_demand()
    assert bench.electronics.coils["contactor 1"]
    assert bench.count_edges(0.1) == 0
    assert not bench.is_powered()


def test_failing_opening_is_logged_once(bench: Hat, caplog: pytest.LogCaptureFixture) -> None:
    bench.charge()
    caplog.clear()
    bench.electronics.failing |= {"contactor 1", "heartbeat"}
    bench.wait(2)
    logged = [
        record.getMessage() for record in caplog.records if "contactor line" in record.message
    ]
    assert len(logged) == 1


async def test_repeated_tick_error_is_logged_once(
    bench: Hat, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("an error")

    monkeypatch.setattr(bench.backend, "tick", fail)
    bench.backend._loop = asyncio.get_running_loop()
    for _ in range(5):
        if bench.backend._timer is not None:
            bench.backend._timer.cancel()
        bench.backend._on_timer()
    await bench.backend.stop()
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]
