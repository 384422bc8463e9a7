"""Driver for the SDK's own controller (chip-core). Usage: chip_core.py STORAGE PAA_DIR."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from rpc import SubscribedState, serve  # isort: skip

import chip.native

chip.native.Init(999)

import chip.CertificateAuthority  # noqa: E402
from chip import ChipDeviceCtrl  # noqa: E402
from chip.ChipStack import ChipStack  # noqa: E402
from chip.clusters import Objects as clusters  # noqa: E402, N813
from chip.clusters.Attribute import EventReadResult, SubscriptionTransaction  # noqa: E402
from chip.clusters.Types import NullValue  # noqa: E402

NODE_ID = 0x1234
CONTROLLER_ID = 112233


def plain(value: Any) -> Any:
    """Convert cluster objects, Nullable and enums to values of JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if type(value).__name__ == "Nullable":
        return None
    return value if isinstance(value, float | str) else str(value)


class ChipCoreDriver:
    """One or two fabrics, each with a controller, in one process."""

    def __init__(self, storage: str, paa_directory: str) -> None:
        self.storage = storage
        self.paa_directory = paa_directory
        self.controllers: dict[int, Any] = {}
        self.states: dict[int, SubscribedState] = {}
        self.subscriptions: list[Any] = []

    async def start(self) -> None:
        self.stack = ChipStack(
            persistentStoragePath=self.storage + "/chip.json", enableServerInteractions=True
        )
        self.authorities = chip.CertificateAuthority.CertificateAuthorityManager(
            self.stack, self.stack.GetStorageManager()
        )

    async def stop(self) -> None:
        for subscription in self.subscriptions:
            subscription.Shutdown()
        self.authorities.Shutdown()
        self.stack.Shutdown()

    def controller(self, fabric: int) -> Any:
        if fabric not in self.controllers:
            authority = self.authorities.NewCertificateAuthority(caIndex=fabric)
            admin = authority.NewFabricAdmin(vendorId=0xFFF1, fabricId=fabric)
            self.controllers[fabric] = admin.NewController(
                nodeId=CONTROLLER_ID, paaTrustStorePath=self.paa_directory
            )
        return self.controllers[fabric]

    async def do_commission(self, code: str, fabric: int = 1, node: int = NODE_ID) -> int:
        return int(
            await self.controller(fabric).CommissionWithCode(
                code, node, ChipDeviceCtrl.DiscoveryType.DISCOVERY_NETWORK_ONLY
            )
        )

    async def do_grant_view(self, node: int, reader: int) -> None:
        """Grant another node the View privilege on `node`."""
        entry = clusters.AccessControl.Structs.AccessControlEntryStruct
        entries = [
            entry(privilege=privilege, authMode=2, subjects=[subject], targets=NullValue)
            for privilege, subject in ((5, CONTROLLER_ID), (1, reader))
        ]
        await self.controller(1).WriteAttribute(
            node, [(0, clusters.AccessControl.Attributes.Acl(entries))]
        )

    async def do_set_time_source(self, node: int, source: int) -> None:
        time = clusters.TimeSynchronization
        await self.controller(1).SendCommand(
            node,
            0,
            time.Commands.SetTrustedTimeSource(
                time.Structs.FabricScopedTrustedTimeSourceStruct(nodeID=source, endpoint=0)
            ),
        )

    async def do_read_time(self, node: int) -> dict[str, Any]:
        """Return TimeSource and UTCTime."""
        controller = self.controller(1)
        controller.ExpireSessions(node)
        time = clusters.TimeSynchronization
        wanted = (time.Attributes.TimeSource, time.Attributes.UTCTime)
        found = await controller.ReadAttribute(node, [(0, each) for each in wanted])
        return {each.__name__: plain(found[0][time][each]) for each in wanted}

    async def do_read_all(self, fabric: int = 1) -> dict[str, Any]:
        result = await self.controller(fabric).Read(NODE_ID, attributes=[()])
        return {
            f"{endpoint}/{cluster}/{attribute}": plain(value)
            for endpoint, of_endpoint in result.tlvAttributes.items()
            for cluster, of_cluster in of_endpoint.items()
            for attribute, value in of_cluster.items()
        }

    async def do_subscribe(self, fabric: int = 1, max_interval: int = 30) -> dict[str, Any]:
        state = self.states[fabric] = SubscribedState()
        subscription = await self.controller(fabric).Read(
            NODE_ID,
            attributes=[()],
            events=[("*", 1)],
            reportInterval=(0, max_interval),
            keepSubscriptions=True,
        )
        loop = asyncio.get_running_loop()

        def on_attribute(path: Any, transaction: SubscriptionTransaction) -> None:
            value = transaction.GetAttribute(path)
            ids = path.Path
            loop.call_soon_threadsafe(
                state.set_attribute,
                f"{ids.EndpointId}/{ids.ClusterId}/{ids.AttributeId}",
                plain(value),
            )

        def on_event(event: EventReadResult, _transaction: SubscriptionTransaction) -> None:
            header = event.Header
            loop.call_soon_threadsafe(
                state.add_event,
                header.EndpointId,
                header.ClusterId,
                header.EventId,
                header.EventNumber,
                plain(event.Data),
            )

        subscription.SetAttributeUpdateCallback(on_attribute)
        subscription.SetEventUpdateCallback(on_event)
        self.subscriptions.append(subscription)
        for event in subscription.GetEvents():
            on_event(event, subscription)
        return {
            "attributes": sum(
                len(c) for e in subscription.GetAttributes().values() for c in e.values()
            )
        }

    async def do_wait_attribute(self, fabric: int = 1, **wanted: Any) -> Any:
        return await self.states[fabric].wait_attribute(**wanted)

    async def do_wait_event(self, fabric: int = 1, **wanted: Any) -> Any:
        return await self.states[fabric].wait_event(**wanted)

    async def do_enable_charging(
        self, until: int | None, minimum: int, maximum: int, fabric: int = 1
    ) -> None:
        await self.controller(fabric).SendCommand(
            NODE_ID,
            1,
            clusters.EnergyEvse.Commands.EnableCharging(
                chargingEnabledUntil=NullValue if until is None else until,
                minimumChargeCurrent=minimum,
                maximumChargeCurrent=maximum,
            ),
            timedRequestTimeoutMs=3000,
        )

    async def do_disable(self, fabric: int = 1) -> None:
        await self.controller(fabric).SendCommand(
            NODE_ID, 1, clusters.EnergyEvse.Commands.Disable(), timedRequestTimeoutMs=3000
        )

    async def do_open_window(self, fabric: int = 1) -> str:
        window = await self.controller(fabric).OpenCommissioningWindow(
            nodeid=NODE_ID, timeout=300, iteration=1000, discriminator=2222, option=1
        )
        return str(window.setupManualCode)

    async def do_remove_fabric(self, fabric: int, by: int = 1) -> None:
        index = await self.controller(fabric).ReadAttribute(
            NODE_ID, [(0, clusters.OperationalCredentials.Attributes.CurrentFabricIndex)]
        )
        own = index[0][clusters.OperationalCredentials][
            clusters.OperationalCredentials.Attributes.CurrentFabricIndex
        ]
        await self.controller(by).SendCommand(
            NODE_ID, 0, clusters.OperationalCredentials.Commands.RemoveFabric(fabricIndex=own)
        )


if __name__ == "__main__":
    asyncio.run(serve(ChipCoreDriver(sys.argv[1], sys.argv[2])))
