"""A board with a heartbeat and a latch: Nick Sayer's hat, as its designer describes it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from evse_node.cli import doctor
from evse_node.cli.hardware import make_safe
from evse_node.errors import HalError
from evse_node.hal.gpio.board import EMERGENCY_STOP, Board, load_board
from evse_node.hal.gpio.drivers import Edge
from evse_node.hal.gpio.rcd import Rcd
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.contract.gpio_bench import GpioBench, bench_board
from tests.support.hal.gpio_electronics import SimulatedElectronics

GROUND_FAULT = FaultState.GROUND_FAULT


def hat() -> Board:
    """With a shorter burst: simulated readings take their time."""
    board = load_board("pi-evse-hat")
    return replace(board, watchdog=None, pilot=replace(board.pilot, samples=16))


class Hat(GpioBench):
    def __init__(self, board: Board | None = None) -> None:
        super().__init__(board or hat())

    def charge(self) -> None:
        self.plug_in()
        self.backend.control_pilot.offer(Milliamps(16_000))
        self.demand()
        assert self.events[-1] == PilotChanged(PilotState.C)
        self.backend.contactor.close()
        self.wait(0.1)
        assert self.is_powered()
        self.events.clear()

    def count_edges(self, seconds: float) -> int:
        levels = [self.electronics.lines["heartbeat"]]
        end = self.now + seconds
        while self.now < end:
            self.wait(0.004)
            levels.append(self.electronics.lines["heartbeat"])
        return sum(one is not other for one, other in pairwise(levels))


@pytest.fixture
def bench() -> Hat:
    made = Hat()
    made.attach()
    return made


# The heartbeat


def test_heartbeat_runs_only_while_contactor_is_closed(bench: Hat) -> None:
    assert bench.count_edges(0.1) == 0
    bench.charge()
    assert bench.count_edges(0.1) > 20
    bench.no_demand()
    assert bench.count_edges(0.1) == 0
    assert bench.electronics.lines["heartbeat"] is False
    assert not bench.electronics.inputs["RCD trip"]


def test_heartbeat_always_runs_while_contactor_is_open() -> None:
    board = hat()
    assert board.heartbeat is not None
    bench = Hat(replace(board, heartbeat=replace(board.heartbeat, phase="always")))
    bench.attach()
    assert bench.count_edges(0.1) > 20
    bench.charge()
    bench.no_demand()
    assert bench.count_edges(0.1) > 20
    bench.runs_sampler = False
    bench.wait(0.6)
    assert bench.count_edges(0.1) == 0


@pytest.mark.parametrize(
    ("sampler", "loop", "within_s"), [(False, False, 0.6), (True, False, 2.1), (False, True, 0.6)]
)
def test_heartbeat_stops_with_sampler_and_loop(
    bench: Hat, sampler: bool, loop: bool, within_s: float
) -> None:
    """The coil cannot be driven here; the heartbeat stops all the same."""
    bench.charge()
    parts = bench.backend._open_parts
    bench.electronics.failing.add("contactor 1")
    parts.contactor.try_open = lambda: False  # type: ignore[method-assign]
    parts.sampler._open_contactor = lambda: False
    bench.runs_sampler, bench.runs_loop = sampler, loop
    bench.wait(within_s)
    assert any(bench.electronics.coils.values())
    assert bench.count_edges(0.1) == 0
    assert not bench.is_powered()


def test_missing_heartbeat_trips_rcd_of_board(bench: Hat) -> None:
    bench.charge()
    bench.runs_waves = False
    bench.wait(0.02)
    assert not bench.is_powered()
    assert not any(bench.electronics.coils.values())
    assert FaultRaised(GROUND_FAULT) in bench.events
    bench.runs_waves = True
    bench.wait(2)
    assert FaultCleared(GROUND_FAULT) not in bench.events


def test_heartbeat_line_failure_raises_fault(bench: Hat) -> None:
    bench.charge()
    bench.electronics.failing.add("heartbeat")
    bench.wait(0.1)
    assert not bench.is_powered()
    assert FaultRaised(FaultState.OTHER) in bench.events
    bench.unplug()
    bench.plug_in()
    bench.demand()
    with pytest.raises(HalError, match="heartbeat's line"):
        bench.backend.contactor.close()


async def test_stop_leaves_heartbeat_inactive(bench: Hat) -> None:
    bench.charge()
    await bench.backend.stop()
    assert not any(bench.electronics.coils.values())
    assert bench.electronics.lines == dict.fromkeys(("heartbeat", "RCD test", "RCD reset"), False)
    assert bench.electronics.open_count == 0


async def test_stop_during_reset_leaves_reset_inactive(bench: Hat) -> None:
    bench.electronics.inputs["RCD trip"] = True
    bench.wait(0.1)
    bench.backend.reset()
    bench.wait(0.05)
    assert bench.electronics.lines["RCD reset"]
    await bench.backend.stop()
    assert not any(bench.electronics.lines.values())


def test_safe_off_leaves_heartbeat_inactive() -> None:
    electronics = SimulatedElectronics(hat(), lambda: 10.0)
    electronics.coils = {"contactor 1": True}
    electronics.lines = dict.fromkeys(("heartbeat", "RCD test", "RCD reset"), True)
    steps = make_safe(electronics.board, electronics)
    assert [step.part for step in steps][:2] == ["contactor 1", "heartbeat"]
    assert not any(step.problem for step in steps)
    assert not any(electronics.coils.values())
    assert not any(electronics.lines.values())


# The latch


@pytest.mark.parametrize("way", ["unplug", "reset"])
def test_residual_current_latches_until_reset(bench: Hat, way: str) -> None:
    bench.charge()
    bench.electronics.inputs["RCD trip"] = True
    bench.wait(0.02)
    assert not bench.is_powered()
    assert not any(bench.electronics.coils.values())
    bench.wait(2)
    assert bench.electronics.inputs["RCD trip"]
    assert FaultCleared(GROUND_FAULT) not in bench.events
    if way == "unplug":
        bench.unplug()
    else:
        assert bench.backend.residual_current_device is not None
        bench.backend.residual_current_device.reset()
    bench.wait(0.5)
    assert not bench.electronics.inputs["RCD trip"]
    assert bench.electronics.lines["RCD reset"] is False
    assert FaultCleared(GROUND_FAULT) in bench.events
    bench.unplug()
    bench.charge()


def test_trip_that_returns_is_not_released() -> None:
    class Line:
        def set(self, is_active: bool) -> None:
            trip[0] = trip[0] and not is_active

        def close(self) -> None:
            pass

    trip = [True]
    rcd = Rcd(lambda: trip[0], reset=Line(), pulse_s=0.05)
    rcd.begin_reset(1.0)
    for now in (1.0, 1.02, 1.06):
        rcd.tick(now)
    assert not rcd.is_resetting
    assert [rcd.has_released(now) for now in (1.06, 1.10, 1.15)] == [False, False, False]
    trip[0] = True
    assert not rcd.has_released(1.2)
    trip[0] = False
    assert [rcd.has_released(now) for now in (1.25, 1.3, 1.36)] == [False, False, True]


@pytest.mark.parametrize("broken", ["latch", "RCD reset"])
def test_latch_that_does_not_release_stays_fault(
    bench: Hat, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.charge()
    bench.electronics.inputs["RCD trip"] = True
    bench.wait(0.1)
    if broken == "latch":
        bench.electronics.is_latch_broken = True
    else:
        bench.electronics.failing.add(broken)
    bench.unplug()
    bench.wait(4)
    assert FaultCleared(GROUND_FAULT) not in bench.events
    logged = [record.getMessage() for record in caplog.records]
    assert len([text for text in logged if text.startswith("the RCD cannot be reset")]) == 1
    bench.electronics.failing.clear()
    bench.electronics.is_latch_broken = False
    bench.backend.reset()
    bench.wait(0.5)
    assert FaultCleared(GROUND_FAULT) in bench.events


def test_late_loop_never_skips_reset_pulse(bench: Hat) -> None:
    bench.electronics.inputs["RCD trip"] = True
    bench.wait(0.1)
    bench.backend.reset()
    bench.runs_loop = False
    bench.wait(1)
    bench.runs_loop = True
    bench.wait(0.5)
    assert not bench.electronics.inputs["RCD trip"]
    assert bench.events[-1] == FaultCleared(GROUND_FAULT)


def test_rcd_is_not_reset_while_contactor_is_closed(bench: Hat) -> None:
    bench.charge()
    bench.backend.causes._present.add("RCD trip")
    bench.backend.reset()
    bench.wait(0.1)
    assert bench.electronics.lines["RCD reset"] is False
    assert bench.backend._resets_until is None


# The self-test


def test_latch_set_at_power_on_is_no_fault() -> None:
    bench = Hat()
    bench.electronics.inputs["RCD trip"] = True
    bench.attach()
    assert not [event for event in bench.events if isinstance(event, FaultRaised)]
    bench.charge()


def test_stuck_latch_at_start_is_fault() -> None:
    bench = Hat()
    bench.electronics.inputs["RCD trip"] = bench.electronics.is_latch_broken = True
    bench.attach()
    bench.wait(3)
    assert FaultRaised(FaultState.OTHER) in bench.events
    assert FaultRaised(GROUND_FAULT) in bench.events
    check = bench.backend._open_parts.check
    assert check.failure == "the RCD is tripped, and its reset does not release it"


def test_rcd_test_needs_alternating_current() -> None:
    """A level does not make the hat's RCD trip, so a stopped wave is detected."""
    bench = Hat()
    bench.runs_waves = False
    bench.attach()
    bench.wait(4)
    assert bench.backend._open_parts.check.failure == "the RCD does not trip in its test"


def test_rcd_is_tested_before_each_demand_is_reported(bench: Hat) -> None:
    for _ in range(2):
        bench.electronics.test_edges = 0
        bench.plug_in()
        assert bench.electronics.test_edges == 0
        bench.electronics.vehicle = PilotState.C
        bench.wait(0.3)
        assert PilotChanged(PilotState.C) not in bench.events
        bench.wait(0.6)
        bench.events.remove(PilotChanged(PilotState.C))
        assert not bench.electronics.inputs["RCD trip"]
        bench.wait(1)
        assert PilotChanged(PilotState.C) not in bench.events
        bench.no_demand()
    assert not [event for event in bench.events if isinstance(event, FaultRaised)]


def test_failed_rcd_test_keeps_contactor_open(bench: Hat) -> None:
    bench.plug_in()
    bench.backend.control_pilot.offer(Milliamps(16_000))
    bench.electronics.ignores_rcd_test = True
    bench.demand()
    bench.wait(3)
    assert FaultRaised(FaultState.OTHER) in bench.events
    with pytest.raises(HalError, match="does not trip in its test"):
        bench.backend.contactor.close()
    bench.no_demand()
    bench.demand()
    with pytest.raises(HalError, match="does not trip in its test"):
        bench.backend.contactor.close()
    bench.unplug()
    bench.electronics.ignores_rcd_test = False
    bench.backend.start_self_test()
    bench.wait(2)
    assert FaultCleared(FaultState.OTHER) in bench.events
    assert SelfTestCompleted() in bench.events
    bench.charge()


def test_late_loop_fails_no_self_test() -> None:
    bench = Hat()
    bench.backend.attach(bench.events.append)
    for _ in range(16):
        bench.runs_loop = False
        bench.wait(0.3)
        bench.runs_loop = True
        bench.wait(0.02)
    assert bench.backend._open_parts.check.failure == ""


def test_self_test_replaces_running_one(bench: Hat) -> None:
    bench.electronics.ignores_rcd_test = True
    bench.backend.start_self_test()
    for _ in range(200):
        bench.wait(0.004)
        if bench.electronics.lines["RCD test"]:
            break
    assert bench.electronics.lines["RCD test"]
    bench.electronics.ignores_rcd_test = False
    bench.backend.start_self_test()
    bench.wait(0.004)
    assert bench.electronics.lines["RCD test"] is False
    bench.wait(2)
    assert bench.backend._open_parts.check.failure == ""


# A trip for a moment, on any board


def test_short_press_of_emergency_stop_latches() -> None:
    bench = GpioBench()
    bench.attach()
    bench.events.clear()
    bench.electronics.edges = [
        Edge(EMERGENCY_STOP, True, 1_000_000),
        Edge(EMERGENCY_STOP, False, 2_000_000),
    ]
    bench.backend.on_edges()
    assert bench.events == [FaultRaised(FaultState.EMERGENCY_STOP)]
    bench.wait(1)
    assert bench.events == [FaultRaised(FaultState.EMERGENCY_STOP)]
    bench.backend.reset()
    assert bench.events[-1] == FaultCleared(FaultState.EMERGENCY_STOP)


# Doctor and wiring


def test_doctor_resets_latch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "longest_pause_s", lambda interval_s: interval_s + 0.0002)
    electronics = SimulatedElectronics(hat(), lambda: 10.0)
    electronics.inputs["RCD trip"] = True
    checks = {check.part: check for check in doctor.examine(electronics.board, electronics)}
    assert [part for part, check in checks.items() if not check.is_fine] == []
    assert checks["RCD reset"].text == "line GPIO27 is free, and was driven inactive"
    assert checks["RCD's latch"].text == "the RCD was tripped, and released by its reset"
    assert checks["heartbeat's pace"].text == "edges would come after 1.2 ms at the latest"
    assert electronics.open_count == 0


def test_doctor_reports_latch_that_does_not_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "longest_pause_s", lambda interval_s: 0.0305)
    electronics = SimulatedElectronics(hat(), lambda: 10.0)
    electronics.inputs["RCD trip"] = electronics.is_latch_broken = True
    wrong = {
        check.part: check.text
        for check in doctor.examine(electronics.board, electronics)
        if not check.is_fine
    }
    assert wrong["RCD's latch"] == "the RCD stays tripped after its reset"
    assert "and the board waits for 10" in wrong["heartbeat's pace"]


def test_longest_pause_is_at_least_the_interval() -> None:
    assert doctor.longest_pause_s(0.0001) >= 0.0001


def test_wiring_table_describes_square_waves_and_pulses() -> None:
    rows = {part: how for part, _, how in doctor.wiring(hat())}
    assert rows["heartbeat (out)"] == "active high, an edge each 1 ms while closed, at most 10"
    assert rows["RCD test (out)"] == "active high, 60 Hz"
    assert rows["RCD reset (out)"] == "active high, pulse of 100 ms"
    assert rows["contactor 1 (out)"] == "active high"
    rows = {part: how for part, _, how in doctor.wiring(bench_board())}
    assert rows["RCD test (out)"] == "active high"
