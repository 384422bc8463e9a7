"""The chip-core driver of the interop tests, extended with repeated operations.

Usage: chip_bench.py STORAGE PAA_DIR, on the controller's host. Every method takes
the node id and returns latencies in milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/interop/drivers"))

from chip_core import ChipCoreDriver, ChipDeviceCtrl, NullValue, clusters
from rpc import serve

BASIC = clusters.BasicInformation
EVSE = clusters.EnergyEvse


class BenchDriver(ChipCoreDriver):
    """Driver for several nodes on fabric 1, distinguished by node id."""

    async def do_commission_node(self, node: int, discriminator: int, passcode: int) -> float:
        begin = time.perf_counter()
        await self.controller(1).CommissionOnNetwork(
            nodeId=node,
            setupPinCode=passcode,
            filterType=ChipDeviceCtrl.DiscoveryFilterType.LONG_DISCRIMINATOR,
            filter=discriminator,
        )
        return (time.perf_counter() - begin) * 1000

    async def _repeat(self, count: int, operation: Callable[[int], Awaitable[Any]]) -> list[float]:
        latencies = []
        for number in range(count):
            begin = time.perf_counter()
            await operation(number)
            latencies.append((time.perf_counter() - begin) * 1000)
        # Wait for the last acknowledgement, which is a message of its own.
        await asyncio.sleep(0.3)
        return latencies

    async def do_read(self, node: int, count: int) -> list[float]:
        path = [(1, EVSE.Attributes.SupplyState)]
        return await self._repeat(count, lambda _: self.controller(1).ReadAttribute(node, path))

    async def do_write(self, node: int, count: int) -> list[float]:
        return await self._repeat(
            count,
            lambda number: self.controller(1).WriteAttribute(
                node, [(0, BASIC.Attributes.NodeLabel(f"label {number % 7}"))]
            ),
        )

    async def do_invoke(self, node: int, count: int) -> list[float]:
        return await self._repeat(
            count,
            lambda number: self.controller(1).SendCommand(
                node,
                1,
                EVSE.Commands.EnableCharging(
                    chargingEnabledUntil=NullValue,
                    minimumChargeCurrent=6000,
                    maximumChargeCurrent=10000 + 1000 * (number % 5),
                ),
                timedRequestTimeoutMs=3000,
            ),
        )

    async def do_wildcard(self, node: int, count: int) -> dict[str, Any]:
        attributes = 0

        async def once(_number: int) -> None:
            nonlocal attributes
            result = await self.controller(1).Read(node, attributes=[()])
            attributes += sum(
                len(cluster) for end in result.tlvAttributes.values() for cluster in end.values()
            )

        return {"latencies": await self._repeat(count, once), "attributes": attributes}

    async def do_subscription(self, node: int, count: int) -> dict[str, Any]:
        attributes = 0

        async def once(_number: int) -> None:
            nonlocal attributes
            subscription = await self.controller(1).Read(
                node, attributes=[()], reportInterval=(0, 60), keepSubscriptions=False
            )
            attributes += sum(
                len(c) for end in subscription.GetTLVAttributes().values() for c in end.values()
            )
            subscription.Shutdown()

        return {"latencies": await self._repeat(count, once), "attributes": attributes}

    async def do_report(self, node: int, count: int) -> list[float]:
        """Write a label and wait until its subscription reports it."""
        subscription = await self.controller(1).Read(
            node,
            attributes=[(0, BASIC.Attributes.NodeLabel)],
            reportInterval=(0, 60),
            keepSubscriptions=False,
        )
        reported = asyncio.Event()
        loop = asyncio.get_running_loop()
        subscription.SetAttributeUpdateCallback(lambda *_: loop.call_soon_threadsafe(reported.set))

        async def once(number: int) -> None:
            reported.clear()
            await self.controller(1).WriteAttribute(
                node, [(0, BASIC.Attributes.NodeLabel(f"report {number}"))]
            )
            await asyncio.wait_for(reported.wait(), 10)

        try:
            return await self._repeat(count, once)
        finally:
            subscription.Shutdown()


if __name__ == "__main__":
    asyncio.run(serve(BenchDriver(sys.argv[1], sys.argv[2])))
