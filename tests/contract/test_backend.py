"""The contract for every built-in backend, and its checks for broken backends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from evse_node.hal import interface as hal
from evse_node.testing import backend_contract as contract
from evse_node.testing.backend_contract import CHECKS, run_check
from evse_node.units import Milliamps, Milliwatts
from tests.contract.backends import BENCHES, SimulatedBench

_Answer = TypeVar("_Answer")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("backend", sorted(BENCHES))
async def test_backend_keeps_contract(backend: str, check: str) -> None:
    await run_check(check, BENCHES[backend]())


class CoroutineBench(SimulatedBench):
    """Bench whose methods return awaitables."""

    async def _later(self, act: Callable[..., None], *arguments: object) -> None:
        await asyncio.sleep(0)
        act(*arguments)

    def plug_in(self) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().plug_in)

    def demand(self) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().demand)

    def no_demand(self) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().no_demand)

    def unplug(self) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().unplug)

    def tap(self, uid: bytes) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().tap, uid)

    def wait(self, seconds: float) -> Awaitable[None]:  # type: ignore[override]
        return self._later(super().wait, seconds)


@pytest.mark.parametrize("check", CHECKS)
async def test_bench_methods_may_be_coroutines(check: str) -> None:
    await run_check(check, CoroutineBench())


def always(value: _Answer) -> Callable[..., _Answer]:
    return lambda *arguments: value


def always_powered(bench: SimulatedBench) -> None:
    bench.is_powered = always(True)  # type: ignore[method-assign]


def doubled(bench: SimulatedBench) -> None:
    class Doubled(list[hal.HalEvent]):
        def append(self, event: hal.HalEvent) -> None:
            self.extend((event, event))

    bench.events = Doubled()


def without(kind: type[hal.HalEvent]) -> Callable[[SimulatedBench], None]:
    def sabotage(bench: SimulatedBench) -> None:
        class Without(list[hal.HalEvent]):
            def append(self, event: hal.HalEvent) -> None:
                if not isinstance(event, kind):
                    super().append(event)

        bench.events = Without()

    return sabotage


def broken(method: str, answer: object = None) -> Callable[[SimulatedBench], None]:
    return lambda bench: setattr(bench.backend.board, method, always(answer))


def replaced(member: str, value: object) -> Callable[[SimulatedBench], None]:
    return lambda bench: setattr(bench.backend, member, value)


def closes_by_itself(bench: SimulatedBench) -> None:
    demand = bench.demand

    def demand_and_close() -> None:
        demand()
        bench.backend.board.close()

    bench.demand = demand_and_close  # type: ignore[method-assign]


def never_opening(bench: SimulatedBench) -> None:
    board = bench.backend.board

    def close() -> None:
        board._drop = always(None)  # type: ignore[method-assign]
        board.is_closed = True

    board.close = close  # type: ignore[method-assign]


class OwnLock:
    def __init__(self) -> None:
        self.lock = self

    def unlock(self) -> None:
        pass


METER = hal.MeterValues(0, 0, 0, (), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("check", "sabotage"),
    [
        ("capabilities have their methods", replaced("lock", object())),
        (
            "capabilities have their methods",
            replaced("contactor", None),
        ),
        # A backend that is its own lock: the member hides the method.
        (
            "capabilities have their methods",
            replaced("lock", OwnLock()),
        ),
        (
            "ratings are plausible",
            replaced("ratings", hal.Ratings(Milliamps(5_000))),
        ),
        ("start reports pilot and contactor", doubled),
        ("start reports pilot and contactor", without(hal.ContactorReported)),
        ("start reports pilot and contactor", always_powered),
        ("stop opens and may be repeated", always_powered),
        ("each change of the pilot is reported once", doubled),
        ("each change of the pilot is reported once", without(hal.PilotChanged)),
        ("state F lasts", broken("signal_unavailable")),
        ("state F lasts", broken("withdraw")),
        ("the contactor closes and reports", broken("close")),
        ("the contactor closes and reports", without(hal.ContactorReported)),
        ("the contactor opens and reports", broken("open")),
        ("the contactor opens by itself without demand", never_opening),
        ("the contactor opens by itself when unplugged", never_opening),
        ("the contactor opens in state F", never_opening),
        ("the contactor never closes by itself", closes_by_itself),
        ("the contactor stays open without a ready vehicle", never_opening),
        ("an open contactor may be opened", always_powered),
        ("the cable is reported", without(hal.CableChanged)),
        ("the cable is reported", doubled),
        ("the meter counts", broken("read", METER)),
        (
            "the grid meter includes the vehicle",
            broken("read_grid_power_mw", Milliwatts(-1_000)),
        ),
        ("cards are reported", without(hal.RfidTapped)),
        ("the residual current device may be reset", always_powered),
        ("the temperature is plausible", broken("read_millicelsius", 200_000)),
        ("the self-test ends", broken("start_self_test")),
        ("the vehicle discharges", broken("set_discharge")),
        ("battery and vehicle are reported", broken("vehicle_id", "x" * 33)),
        ("battery and vehicle are reported", broken("battery", hal.BatteryReported(101, None))),
    ],
)
async def test_check_fails_on_broken_backend(
    check: str, sabotage: Callable[[SimulatedBench], None]
) -> None:
    bench = SimulatedBench()
    sabotage(bench)
    with pytest.raises(AssertionError, match=r"."):
        await run_check(check, bench)


def test_every_capability_is_checked() -> None:
    protocols = {
        value
        for name, value in vars(hal).items()
        if isinstance(value, type) and getattr(value, "_is_protocol", False) and name != "Protocol"
    }
    assert set(contract._PROTOCOLS.values()) == protocols - {hal.EvseBackend}
