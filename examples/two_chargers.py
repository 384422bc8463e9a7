"""Two chargers in one process, each a Matter node of its own.

python examples/two_chargers.py --interface eth0
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
    parser.add_argument("--storage", type=Path, default=Path("two-chargers"))
    parser.add_argument("--seconds", type=float, default=3600)
    arguments = parser.parse_args()

    def config(name: str) -> NodeConfig:
        # Each node has a folder of its own, and any free port.
        return NodeConfig(
            storage=arguments.storage / name, port=0, interfaces=tuple(arguments.interface)
        )

    async with EvseNode(config("left")) as left, EvseNode(config("right")) as right:
        for name, node in (("left", left), ("right", right)):
            print(f"{name}: port {node.port}, manual code {node.manual_code}")
        left.car.plug_in()
        await asyncio.sleep(arguments.seconds)
        print(f"left: {left.state.state.value}, right: {right.state.state.value}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except EvseNodeError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        pass
