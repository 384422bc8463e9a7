"""A node on the loopback interface with a controller, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from evse_node.config.node_config import NodeConfig
from evse_node.node.evse_node import EvseNode
from evse_node.state_machine.enums import State
from tests.support.hal.modbus_evse_models import Phoenix
from tests.support.hal.modbus_evse_peer import LoopThread, Peer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def test_node_charges_and_disables_controller_on_stop(tmp_path: Path) -> None:
    phoenix = Phoenix()
    phoenix.energy_wh = 5_000
    peer, thread = Peer(phoenix), LoopThread()
    thread.run(peer.serve_tcp())
    config = NodeConfig(
        storage=tmp_path,
        port=0,
        interfaces=("lo",),
        control=None,
        backend="modbus-evse",
        charging=True,
        hal={
            "controller": "phoenix-em-cp-pp-eth",
            "host": "127.0.0.1",
            "port": peer.port,
            "meter": "controller",
        },
    )
    async with EvseNode(config) as node:
        charger = node.charger
        assert charger.state.state is State.NOT_PLUGGED_IN
        phoenix.turn_to("B")
        await until(lambda: charger.state.state is State.PLUGGED_IN_NO_DEMAND)
        phoenix.turn_to("C")
        await until(lambda: charger.state.state is State.PLUGGED_IN_CHARGING and phoenix.is_closed)
        assert charger.state.faults == ()
        values = charger.meter_values(time.monotonic())
        assert values is not None
        assert values.imported_mwh == 5_000_000
    thread.run(peer.close())
    thread.close()
    assert not phoenix.is_closed
    assert not phoenix.is_enabled
