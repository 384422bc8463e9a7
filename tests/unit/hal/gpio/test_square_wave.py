from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from evse_node.errors import HalError
from evse_node.hal.gpio.contactor import ContactorDriver
from evse_node.hal.gpio.square_wave import SquareWave


class Line:
    def __init__(self) -> None:
        self.levels: list[bool] = []
        self.error: Exception | None = None
        self.on_set: Callable[[bool], None] = lambda _: None

    def set(self, is_active: bool) -> None:
        self.on_set(is_active)
        if self.error is not None:
            raise self.error
        self.levels.append(is_active)

    def close(self) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        self.line = Line()
        self.now = 5.0
        self.is_watched = True
        self.wave = SquareWave(
            "heartbeat",
            self.line,
            0.001,
            clock=lambda: self.now,
            may_run=lambda now: self.is_watched,
            limit_s=0.01,
        )

    def beat(self, after_s: float = 0.001) -> bool:
        self.now += after_s
        return self.wave.beat(self.now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_square_wave_has_edges_only_while_started(bench: Bench) -> None:
    assert not bench.beat()
    bench.wave.start()
    assert [bench.beat() for _ in range(3)] == [True] * 3
    bench.wave.stop()
    assert [bench.beat() for _ in range(2)] == [False] * 2
    assert bench.line.levels == [True, False, True, False]


@pytest.mark.parametrize("edges", [1, 2])
def test_square_wave_has_no_edge_while_unsupervised(bench: Bench, edges: int) -> None:
    """The line stays at the level that it has: to drive it inactive might be an edge."""
    bench.wave.start()
    for _ in range(edges):
        bench.beat()
    before = list(bench.line.levels)
    bench.is_watched = False
    assert [bench.beat() for _ in range(5)] == [False] * 5
    assert bench.line.levels == before
    bench.is_watched = True
    assert bench.beat()


@pytest.mark.parametrize("error", [OSError(5, "broken"), HalError("gone"), TimeoutError()])
def test_square_wave_stops_after_line_failure(bench: Bench, error: Exception) -> None:
    bench.wave.start()
    bench.beat()
    bench.line.error = error
    assert not bench.beat()
    assert bench.wave.failure == (str(error) or "TimeoutError()")
    bench.line.error = None
    assert not bench.beat()
    assert bench.line.levels == [True]


def test_long_pause_of_heartbeat_is_logged_at_intervals(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.wave.start()
    for after_s in (0.001, 0.009, 0.025, 0.030, 61, 0.001):
        bench.beat(after_s)
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert logged[0].startswith("the heartbeat paused for 25 ms, where the board waits for 10:")


def test_square_wave_thread_starts_at_once_and_leaves_line_inactive() -> None:
    line, halt, begun = Line(), threading.Event(), threading.Event()
    line.on_set = lambda _: begun.set()
    wave = SquareWave("heartbeat", line, 0.001, clock=time.monotonic)
    thread = threading.Thread(target=wave.run, args=(halt,))
    thread.start()
    wave.start()
    assert begun.wait(5)
    halt.set()
    thread.join(5)
    assert not thread.is_alive()
    assert line.levels[:1] == [True]
    assert line.levels[-1] is False


# Together with the gate


def test_contactor_starts_heartbeat_before_coil_and_stops_it_first(bench: Bench) -> None:
    coil = Line()
    contactor = ContactorDriver([coil], bench.wave)
    wanted: list[bool] = []
    coil.on_set = lambda _: wanted.append(bench.wave._is_enabled)
    contactor.close(contactor.openings)
    contactor.open()
    assert coil.levels == [True, False]
    assert wanted == [True, False]


def test_heartbeat_stops_when_no_coil_can_be_driven(bench: Bench) -> None:
    coil = Line()
    contactor = ContactorDriver([coil], bench.wave)
    contactor.close(contactor.openings)
    coil.error = OSError(5, "broken")
    assert not contactor.try_open()
    assert not bench.beat()


def test_opening_during_closing_stops_heartbeat(bench: Bench) -> None:
    coil = Line()
    contactor = ContactorDriver([coil], bench.wave)

    def open_once(_: bool) -> None:
        coil.on_set = lambda _: None
        contactor.open()

    coil.on_set = open_once
    with pytest.raises(HalError):
        contactor.close(contactor.openings)
    assert not bench.beat()
    with pytest.raises(HalError):
        contactor.close(contactor.openings - 1)
    assert not bench.beat()
