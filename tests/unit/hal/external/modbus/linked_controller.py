"""A Modbus controller over TCP, and an open link to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec.structs import replace

from evse_node.hal.external.link import ControllerOrders
from evse_node.hal.external.modbus.controller_map import Fallback
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.units import Milliamps
from tests.support.hal.modbus_evse_models import Controller, Phoenix, SimpleEvse, SmartEvse
from tests.support.hal.modbus_evse_peer import Peer, quick_map, short_sleep

NAMES = {SimpleEvse: "simpleevse", Phoenix: "phoenix-em-cp-pp-eth", SmartEvse: "smartevse"}


REST = ControllerOrders()


OPEN = ControllerOrders(must_open=True)


UNAVAILABLE = ControllerOrders(is_unavailable=True)


def supply(current_ma: int = 16_000) -> ControllerOrders:
    return ControllerOrders(is_enabled=True, current_ma=Milliamps(current_ma))


@asynccontextmanager
async def linked(
    controller: Controller, *more: Controller, fallback: Fallback | None = None, **evse: Any
) -> AsyncIterator[tuple[ModbusEvseLink, Peer]]:
    """Serve a controller over TCP, and open a link to it."""
    peer = Peer(controller, *more)
    await peer.serve_tcp()
    registers = quick_map(NAMES[type(controller)], timeout_ms=300, turnaround_ms=20)
    if fallback is not None:
        registers = replace(registers, fallback=fallback)
    link = ModbusEvseLink(
        ModbusEvse(registers=registers, modbus=peer.spec(controller.unit), **evse),
        sleep=short_sleep,
        clock=lambda: controller.now,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(peer.close)
        stack.push_async_callback(link.close)
        await link.open(lambda: None)
        yield link, peer
