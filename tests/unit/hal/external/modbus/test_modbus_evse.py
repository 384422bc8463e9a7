"""Tests of the link to a Modbus EVSE controller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.modbus.link import ModbusEvseLink
from evse_node.state_machine.control_pilot import PilotState
from tests.support.hal.modbus_evse_models import Controller, Phoenix, SimpleEvse, SmartEvse
from tests.unit.hal.external.modbus.linked_controller import OPEN, REST, UNAVAILABLE, linked, supply


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_status_follows_vehicle_through_charging(make: Callable[[], Controller]) -> None:
    controller = make()
    async with linked(controller) as (link, _):
        await link.apply(OPEN)
        status = await link.read_status()
        assert (status.pilot, status.is_closed, status.is_enabled) == (PilotState.A, False, False)
        assert status.ampacity_ma is None
        controller.turn_to("B")
        await link.apply(supply(13_000))
        status = await link.read_status()
        assert (status.pilot, status.is_closed, status.is_enabled) == (PilotState.B, False, True)
        assert status.offered_ma == 13_000
        assert status.ampacity_ma == 32_000
        controller.turn_to("C")
        status = await link.read_status()
        assert (status.pilot, status.is_closed) == (PilotState.C, True)
        assert controller.current_a == 13
        for stop in (REST, OPEN):
            await link.apply(supply())
            assert controller.is_closed
            await link.apply(stop)
            status = await link.read_status()
            assert (status.is_closed, status.is_enabled) == (False, False)
        assert not status.faults
        assert not status.has_restarted


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix, SmartEvse])
async def test_opening_link_changes_nothing_at_controller(
    make: Callable[[], Controller],
) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, _):
        await link.read_status()
        await link.keep_alive()
    assert controller.writes == []


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_repeated_orders_write_nothing(make: Callable[[], Controller]) -> None:
    controller = make()
    async with linked(controller) as (link, _):
        await link.apply(supply())
        await link.read_status()
        controller.writes.clear()
        await link.apply(supply())
        assert [write for write in controller.writes if write[1] != 1004] == []


@pytest.mark.parametrize(
    ("make", "functions"), [(SimpleEvse, {16}), (Phoenix, {5, 6}), (SmartEvse, {16})]
)
async def test_writes_use_functions_of_register_map(
    make: Callable[[], Controller], functions: set[int]
) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, peer):
        await link.apply(supply(10_000))
        await link.apply(OPEN)
        assert peer.registers.functions == functions


async def test_opening_writes_registers_that_are_in_place() -> None:
    phoenix = Phoenix()
    phoenix.turn_to("C")
    async with linked(phoenix) as (link, _):
        await link.apply(OPEN)
        await link.read_status()
        # Written by another master since the last status.
        phoenix.is_enabled = True
        phoenix.refresh()
        await link.apply(OPEN)
        assert not phoenix.is_closed


async def test_state_f_is_reported_while_nothing_is_offered() -> None:
    phoenix = Phoenix()
    phoenix.turn_to("B")
    async with linked(phoenix) as (link, _):
        await link.apply(supply())
        await link.apply(UNAVAILABLE)
        status = await link.read_status()
        assert (status.pilot, status.is_enabled) == (PilotState.F, False)
        await link.apply(REST)
        assert (await link.read_status()).pilot is PilotState.B


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_restart_is_reported_and_needs_new_orders(make: Callable[[], Controller]) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, _):
        await link.apply(supply(10_000))
        assert not (await link.read_status()).has_restarted
        controller.restart()
        assert (await link.read_status()).has_restarted
        assert not (await link.read_status()).has_restarted
        await link.apply(supply(10_000))
        assert not (await link.read_status()).has_restarted
        assert controller.limit_a == 10


def outage(controller: Controller, boot_a: int) -> None:
    """Restart with a ready vehicle."""
    if isinstance(controller, SimpleEvse):
        controller.eeprom[2000] = boot_a
    controller.restart()
    controller.turn_to("C")


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
@pytest.mark.parametrize("amperes", [16, 10])
async def test_restart_during_silence_is_reported_before_closing(
    make: Callable[[], Controller], amperes: int
) -> None:
    controller = make()
    controller.turn_to("C")
    async with linked(controller) as (link, peer):
        await link.apply(supply())
        assert (await link.read_status()).is_closed
        peer.faults.silent = 1
        with pytest.raises(HalError):
            await link.read_status()
        outage(controller, 32)
        # Also after a different current was ordered.
        await link.apply(supply(amperes * 1_000))
        assert not controller.is_closed
        status = await link.read_status()
        assert (status.has_restarted, status.is_closed) == (True, False)
        await link.apply(supply(amperes * 1_000))
        assert controller.is_closed
        assert controller.limit_a == amperes
        assert not (await link.read_status()).has_restarted


async def test_restart_is_reported_until_status_is_complete() -> None:
    phoenix = Phoenix()
    phoenix.turn_to("C")
    async with linked(phoenix) as (link, _):
        await link.apply(supply())
        await link.read_status()
        phoenix.restart()
        # Its pilot is unknown at first.
        phoenix.vehicle = "X"
        with pytest.raises(HalError):
            await link.read_status()
        phoenix.turn_to("C")
        await link.apply(supply())
        assert not phoenix.is_closed
        assert (await link.read_status()).has_restarted


async def test_unknown_pilot_value_raises() -> None:
    phoenix = Phoenix()
    async with linked(phoenix) as (link, _):
        phoenix.vehicle = "X"
        with pytest.raises(HalError, match="unknown value of the pilot: 88"):
            await link.read_status()


async def test_self_test_raises() -> None:
    async with linked(Phoenix()) as (link, _):
        assert link.traits.self_test_s is None
        with pytest.raises(HalError, match="no self-test"):
            await link.self_test()


async def test_closed_link_raises_until_reopened() -> None:
    async with linked(Phoenix()) as (link, _):
        await link.close()
        await link.close()
        with pytest.raises(HalError, match="is not open"):
            await link.read_status()
        await link.open(lambda: None)
        await link.read_status()


async def test_open_fails_without_controller() -> None:
    async with linked(Phoenix()) as (link, peer):
        await peer.hang_up()
        with pytest.raises(HalError, match="cannot be opened"):
            await link.open(lambda: None)


Step = Callable[[ModbusEvseLink], Awaitable[object]]


@pytest.mark.parametrize("fault", ["silent", "garbage", "half"])
@pytest.mark.parametrize(
    "step", [ModbusEvseLink.read_status, lambda link: link.apply(OPEN)], ids=["read", "apply"]
)
async def test_every_failure_raises_hal_error(fault: str, step: Step) -> None:
    async with linked(Phoenix()) as (link, peer):
        await link.apply(supply())
        setattr(peer.faults, fault, 1)
        with pytest.raises(HalError):
            await step(link)
        await step(link)
