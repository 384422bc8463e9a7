"""What every backend owes, whatever hardware is under it; and that the contract sees a breach."""

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
async def test_backend(backend: str, check: str) -> None:
    await run_check(check, BENCHES[backend]())


class CoroutineHands(SimulatedBench):
    """A bench whose hands have to be waited for."""

    async def _after(self, act: Callable[..., None], *given: object) -> None:
        await asyncio.sleep(0)
        act(*given)

    def plug_in(self) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().plug_in)

    def demand(self) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().demand)

    def no_demand(self) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().no_demand)

    def unplug(self) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().unplug)

    def tap(self, uid: bytes) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().tap, uid)

    def wait(self, seconds: float) -> Awaitable[None]:  # type: ignore[override]
        return self._after(super().wait, seconds)


@pytest.mark.parametrize("check", CHECKS)
async def test_hands_may_be_coroutines(check: str) -> None:
    await run_check(check, CoroutineHands())


def always(answer: _Answer) -> Callable[..., _Answer]:
    return lambda *given: answer


def always_powered(bench: SimulatedBench) -> None:
    bench.is_powered = always(True)  # type: ignore[method-assign]


def twice(bench: SimulatedBench) -> None:
    class Twice(list[hal.HalEvent]):
        def append(self, event: hal.HalEvent) -> None:
            self.extend((event, event))

    bench.events = Twice()


def silent(kind: type[hal.HalEvent]) -> Callable[[SimulatedBench], None]:
    def sabotage(bench: SimulatedBench) -> None:
        class Without(list[hal.HalEvent]):
            def append(self, event: hal.HalEvent) -> None:
                if not isinstance(event, kind):
                    super().append(event)

        bench.events = Without()

    return sabotage


def broken(method: str, answer: object = None) -> Callable[[SimulatedBench], None]:
    return lambda bench: setattr(bench.backend.board, method, always(answer))


def missing(member: str) -> Callable[[SimulatedBench], None]:
    return lambda bench: setattr(bench.backend, member, object())


def closes_by_itself(bench: SimulatedBench) -> None:
    demand = bench.demand

    def eager() -> None:
        demand()
        bench.backend.board.close()

    bench.demand = eager  # type: ignore[method-assign]


def careless(bench: SimulatedBench) -> None:
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
        ("members have their methods", missing("lock")),
        ("members have their methods", lambda bench: setattr(bench.backend, "contactor", None)),
        # One that is its own lock: the member hides the method.
        ("members have their methods", lambda bench: setattr(bench.backend, "lock", OwnLock())),
        (
            "ratings make sense",
            lambda bench: setattr(bench.backend, "ratings", hal.Ratings(Milliamps(5_000))),
        ),
        ("start tells pilot and contactor", twice),
        ("start tells pilot and contactor", silent(hal.ContactorReported)),
        ("start tells pilot and contactor", always_powered),
        ("stop opens and may be repeated", always_powered),
        ("each change of the pilot is told once", twice),
        ("each change of the pilot is told once", silent(hal.PilotChanged)),
        ("state F lasts", broken("signal_unavailable")),
        ("state F lasts", broken("withdraw")),
        ("the contactor closes and tells", broken("close")),
        ("the contactor closes and tells", silent(hal.ContactorReported)),
        ("the contactor opens and tells", broken("open")),
        ("opens by itself without demand", careless),
        ("opens by itself when unplugged", careless),
        ("opens by itself in state F", careless),
        ("never closes by itself", closes_by_itself),
        ("does not close without a ready vehicle", careless),
        ("opening an open contactor is harmless", always_powered),
        ("the cable is known and told", broken("ampacity_ma", 32_000)),
        ("the cable is known and told", twice),
        ("the meter counts", broken("read", METER)),
        (
            "the house's meter has what the vehicle takes",
            broken("read_grid_power_mw", Milliwatts(-1_000)),
        ),
        ("cards are told", silent(hal.RfidTapped)),
        ("the residual current device may be reset", always_powered),
        ("the temperature makes sense", broken("read_millicelsius", 200_000)),
        ("the self-test ends", broken("start_self_test")),
        ("discharging", broken("set_discharge")),
        ("battery and vehicle are told", broken("vehicle_id", "x" * 33)),
        ("battery and vehicle are told", broken("battery", hal.BatteryReported(101, None))),
    ],
)
async def test_a_breach_is_seen(check: str, sabotage: Callable[[SimulatedBench], None]) -> None:
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
