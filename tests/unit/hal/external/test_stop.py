"""Stop disables the controller at any time, or logs that it failed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.interface import Ratings
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.modbus_evse_models import Controller, Phoenix, SimpleEvse
from tests.support.hal.modbus_evse_peer import Peer, quick_map
from tests.support.hal.rapi_peer import GFCI, SLEEPING
from tests.unit.hal.external.stepped_link import HASTY, OFFER, PATIENT, SteppedLink, charge, until

ERROR = "the controller could not be disabled"


async def stop_at(moment: int) -> SteppedLink:
    """Start, charge, and stop at this moment of a poll, or after the last that counts."""
    link = SteppedLink(moment)
    backend = ExternalController(link, Ratings(), timings=PATIENT)
    stops: list[asyncio.Task[None]] = []
    link.on_moment = lambda: stops.append(asyncio.create_task(backend.stop()))
    with contextlib.suppress(HalError):
        # A start that is stopped raises.
        await charge(backend)
    await until(lambda: bool(stops) or link.polls >= 4)
    await (stops[0] if stops else backend.stop())
    return link


async def test_stop_at_any_step_of_poll_disables(caplog: pytest.LogCaptureFixture) -> None:
    for moment in itertools.count():
        link = await stop_at(moment)
        assert not link.is_enabled, moment
        assert not link.is_open, moment
        assert not link.was_cancelled, moment
        if link.polls >= 5 and moment > link.steps:
            break
        assert moment < 200
    # Start with opening, orders, heartbeat and status; then orders that close.
    assert moment >= 30
    assert ERROR not in caplog.text


async def test_stop_aborts_hanging_poll_and_disables() -> None:
    link = SteppedLink(recovery_s=0.05)
    backend = ExternalController(link, Ratings(), timings=HASTY)
    await charge(backend)
    await until(lambda: link.is_enabled)
    link.hangs = True
    await until(lambda: link.is_busy)
    stop = asyncio.create_task(backend.stop())
    await asyncio.sleep(0)
    link.hangs = False
    await stop
    assert not link.is_enabled
    assert not link.is_open


@pytest.mark.parametrize("failure", [HalError("garbage"), OSError("gone"), ValueError("odd")])
async def test_stop_retries_after_short_failure(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    link = SteppedLink()
    backend = ExternalController(link, Ratings(), timings=PATIENT)
    await charge(backend)
    await until(lambda: link.is_enabled)
    link.failure = failure
    stop = asyncio.create_task(backend.stop())
    polls = link.steps
    await until(lambda: link.steps > polls + 5)
    link.failure = None
    await stop
    assert not link.is_enabled
    assert ERROR not in caplog.text


async def test_stop_disables_lost_controller_that_is_reachable_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = SteppedLink()
    backend = ExternalController(
        link, Ratings(), timings=replace(PATIENT, lost_s=0.0, reopen_s=60.0)
    )
    await charge(backend)
    await until(lambda: link.is_enabled)
    link.failure = HalError("silence")
    await until(lambda: not link.is_open)
    link.failure = None
    assert link.is_enabled
    await backend.stop()
    assert not link.is_enabled
    assert ERROR not in caplog.text


async def test_failure_to_disable_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    link = SteppedLink()
    backend = ExternalController(link, Ratings(), timings=HASTY)
    await charge(backend)
    link.failure = HalError("silence")
    await backend.stop()
    assert f"{ERROR}: silence" in caplog.text
    assert not link.is_open
    # A second stop does not retry.
    caplog.clear()
    await backend.stop()
    assert caplog.text == ""


async def test_contactor_that_stays_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    link = SteppedLink()
    backend = ExternalController(link, Ratings(), timings=HASTY)
    await charge(backend)
    link.is_stuck = True
    await backend.stop()
    assert f"{ERROR}: its contactor stays closed" in caplog.text
    assert not link.is_enabled


async def test_cancelled_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    link = SteppedLink()
    backend = ExternalController(link, Ratings(), timings=PATIENT)
    await charge(backend)
    link.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await backend.stop()
    assert ERROR in caplog.text
    assert not link.is_open


async def test_cancelled_start_disables(caplog: pytest.LogCaptureFixture) -> None:
    for steps in range(1, 10):
        link = SteppedLink(recovery_s=0.0)
        backend = ExternalController(link, Ratings(), timings=PATIENT)
        start = asyncio.create_task(backend.start(lambda event: None))
        await until(lambda link=link, steps=steps: link.steps >= steps)  # type: ignore[misc]
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert not link.is_enabled
        assert not link.is_open
        await backend.stop()
    assert ERROR not in caplog.text


async def test_concurrent_stops_then_new_start() -> None:
    link = SteppedLink()
    backend = ExternalController(link, Ratings(), timings=PATIENT)
    for _ in range(2):
        await charge(backend)
        await until(lambda: link.is_enabled)
        await asyncio.gather(backend.stop(), backend.stop())
        assert not link.is_enabled


class TestOpenEvse:
    async def test_controller_in_fault_stays_disabled_after_fault_ends(self) -> None:
        bench = OpenEvseBench()
        await bench.start()
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.wait(0.5)
        bench.model.fault = GFCI
        bench.wait(1)
        assert bench.model.state == GFCI
        await bench.stop()
        bench.model.fault = 0
        bench.runs_polls = False
        bench.demand()
        assert not bench.is_powered()
        assert bench.model.state == SLEEPING

    async def test_stop_during_self_test_disables(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = OpenEvseBench()
        await bench.start()
        bench.runs_polls = False
        bench.model.boot_s = 5.0
        bench.backend.start_self_test()
        poll = asyncio.create_task(bench.backend.poll())
        await until(lambda: bench.model.restarts == 1)
        stop = asyncio.create_task(bench.backend.stop())
        await until(poll.done)
        assert bench.model.state == 0
        # It has started, and would charge.
        bench.wait(6)
        await stop
        assert bench.model.state == SLEEPING
        assert ERROR not in caplog.text


@pytest.mark.parametrize("make", [Phoenix, SimpleEvse])
async def test_stop_at_random_times_disables_over_modbus(
    make: Callable[[], Controller], caplog: pytest.LogCaptureFixture
) -> None:
    controller = make()
    is_rtu = isinstance(controller, SimpleEvse)
    peer = Peer(controller)
    await (peer.serve_rtu() if is_rtu else peer.serve_tcp())
    # A cancelled request blocks the bus for longer than a stop may take.
    registers = quick_map("simpleevse" if is_rtu else "phoenix-em-cp-pp-eth", timeout_ms=10_000)
    evse = ModbusEvse(registers=registers, modbus=peer.spec(controller.unit))
    backend = ExternalController(ModbusEvseLink(evse), Ratings(phases=3), timings=PATIENT)
    controller.turn_to("C")
    draw = random.Random(7)
    peer.faults.slow_s = 0.001
    for _ in range(25):
        await charge(backend)
        async with asyncio.timeout(10):
            while not controller.is_closed:
                await asyncio.sleep(0.001)
        await asyncio.sleep(draw.uniform(0, 0.02))
        await backend.stop()
        assert not controller.is_closed
    await peer.close()
    assert ERROR not in caplog.text
