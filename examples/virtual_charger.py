"""A virtual charger whose car arrives, charges, and leaves.

    python examples/virtual_charger.py --interface eth0

Commission it with the printed code, and enable charging from your controller:
the car draws the offered current while it is plugged in.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from evse_node.config import NodeConfig
from evse_node.errors import EvseNodeError
from evse_node.node import EvseNode


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--interface", action="append", default=[])
    parser.add_argument("--storage", type=Path, default=Path("virtual-charger"))
    parser.add_argument("--port", type=int, default=5540)
    parser.add_argument("--visit", type=float, default=600, help="seconds for which the car stays")
    arguments = parser.parse_args()

    config = NodeConfig(
        storage=arguments.storage,
        port=arguments.port,
        interfaces=tuple(arguments.interface),
        # The car's battery charges a hundred times as fast as a real one.
        hal={"battery-kwh": 40, "soc-percent": 20, "speed": 100},
    )
    async with EvseNode(config) as node:
        print(f"QR code {node.qr_code}, manual code {node.manual_code}")
        node.watch(lambda: print(node.state.state.value, node.state.supply_state.value))
        node.car.plug_in()
        node.car.demand()
        await asyncio.sleep(arguments.visit)
        node.car.unplug()
        await asyncio.sleep(1.2)  # a vehicle counts as unplugged after one second
        session = node.state.session
        assert session is not None
        print(f"the car took {session.energy_charged_mwh(node.state.meter) / 1e6:.3f} kWh")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except EvseNodeError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        pass
