"""PICS of a node: its protocol implementation conformance statement, for certification scripts.

All items are derived from endpoints that are built for the given settings; only the test
plans' names of clusters are listed here.

    EEVSE.S=1           the cluster's server
    EEVSE.S.A0000=1     attribute 0x0000
    EEVSE.S.C01.Rsp=1   command 0x01 is accepted
    EEVSE.S.C00.Tx=1    response command 0x00 is sent
    EEVSE.S.E00=1       event 0x00
    EEVSE.S.F00=1       feature bit 0
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from evse_node.cluster.definitions.definition import GENERATED_COMMAND_LIST
from evse_node.cluster.server import ClusterServer
from evse_node.config.node_config import NodeConfig
from evse_node.errors import ConfigError
from evse_node.hal.interface import EvseBackend
from evse_node.hal.registry import create_backend
from evse_node.matter.data_model import Node
from evse_node.matter.fabrics.discovery import COMMISSIONABLE_TYPE, Service
from evse_node.matter.stack import ServicesChanged
from evse_node.node.assembly import Assembly
from evse_node.platform.sqlite_store import SqliteStore

NETWORK_COMMISSIONING: Final = 0x0031

# Names in the test plans of the clusters that a charger may have.
CLUSTER_CODES: Final[Mapping[int, str]] = {
    0x0003: "I",
    0x0004: "G",
    0x001D: "DESC",
    0x001E: "BIND",
    0x001F: "ACL",
    0x0028: "BINFO",
    0x002B: "LCFG",
    0x002C: "LTIME",
    0x002D: "LUNIT",
    0x002F: "PS",
    0x0030: "CGEN",
    0x0031: "CNET",
    0x0032: "DLOG",
    0x0033: "DGGEN",
    0x0034: "DGSW",
    0x0035: "DGTHREAD",
    0x0036: "DGWIFI",
    0x0037: "DGETH",
    0x0038: "TIMESYNC",
    0x003C: "CADMIN",
    0x003E: "OPCREDS",
    0x003F: "GRPKEY",
    0x0040: "FLABEL",
    0x0041: "ULABEL",
    0x0046: "ICDM",
    0x0090: "EPM",
    0x0091: "EEM",
    0x0098: "DEM",
    0x0099: "EEVSE",
    0x009B: "EPREF",
    0x009C: "PWRTL",
    0x009D: "EEVSEM",
    0x009F: "DEMM",
    0x0402: "TMP",
}

# Keys of the commissionable service's TXT record, and their items.
_TXT_ITEMS: Final = {
    "VP": "MCORE.SC.VP_KEY",
    "DT": "MCORE.SC.DT_KEY",
    "DN": "MCORE.SC.DN_KEY",
    "RI": "MCORE.SC.RI_KEY",
    "PH": "MCORE.SC.PH_KEY",
    "PI": "MCORE.SC.PI_KEY",
    "SII": "MCORE.SC.SII_OP_DISCOVERY_KEY",
    "SAI": "MCORE.SC.SAI_OP_DISCOVERY_KEY",
    "SAT": "MCORE.SC.SAT_OP_DISCOVERY_KEY",
    "T": "MCORE.SC.TCP",
}
_SUBTYPE_ITEMS: Final = {"_V": "MCORE.SC.VENDOR_SUBTYPE", "_T": "MCORE.SC.DEVTYPE_SUBTYPE"}
_NETWORK_ITEMS: Final = {"WI": "MCORE.COM.WIFI", "TH": "MCORE.COM.THR", "ET": "MCORE.COM.ETH"}


def pics_text(config: NodeConfig, endpoint: int | None = None) -> str:
    """Return the PICS file of a node with these settings: a line KEY=0 or KEY=1 for each item.

    `endpoint` limits the clusters to that endpoint. Neither the hardware nor the node's storage
    is used. Raises ConfigError for invalid settings, and for an endpoint that does not exist.
    """
    items = asyncio.run(_build(config, endpoint))
    return "".join(f"{key}={int(value)}\n" for key, value in items.items())


async def _build(config: NodeConfig, endpoint: int | None) -> dict[str, bool]:
    with tempfile.TemporaryDirectory() as folder:
        # Any free port, because the node itself may be running.
        own = replace(config, storage=Path(folder), port=0)
        store = SqliteStore(own.storage)
        try:
            return await _describe(own, store, create_backend(own.backend, own.hal), endpoint)
        finally:
            store.close()


async def _describe(
    config: NodeConfig, store: SqliteStore, backend: EvseBackend, endpoint: int | None
) -> dict[str, bool]:
    assembly = Assembly(config, store, backend, 0, lambda: None, lambda: None)
    try:
        assembly.stack.start(time.monotonic())
        services: Sequence[Service] = ()
        while event := assembly.stack.next_event():
            if isinstance(event, ServicesChanged):
                services = event.services
        node = assembly.stack.node
        if endpoint is not None and endpoint not in node.endpoints:
            known = ", ".join(map(str, sorted(node.endpoints)))
            raise ConfigError(f"--endpoint: '{endpoint}' cannot be used: give one of {known}")
        return base_items(node, services) | cluster_items(node, endpoint)
    finally:
        await assembly.stop()


def base_items(node: Node, services: Sequence[Service]) -> dict[str, bool]:
    """Return the items of the node itself; `services` are those before commissioning."""
    items = {
        "MCORE.ROLE.COMMISSIONEE": True,
        "MCORE.ROLE.COMMISSIONER": False,
        "MCORE.ROLE.CONTROLLER": False,
        "MCORE.ROLE.ADMINISTRATOR": False,
        "MCORE.IDM.S": True,
        "MCORE.DD.QR": True,
        "MCORE.DD.MANUAL_PC": True,
        "MCORE.DD.11_MANUAL_PC": True,
        "MCORE.DD.STANDARD_COMM_FLOW": True,
        "MCORE.DD.DISCOVERY_IP": True,
        "MCORE.DD.DISCOVERY_BLE": False,
        "MCORE.COM.BLE": False,
        "MCORE.SC.EXTENDED_DISCOVERY": False,
    }
    networks = {
        code
        for endpoint in node.endpoints.values()
        if isinstance(server := endpoint.clusters.get(NETWORK_COMMISSIONING), ClusterServer)
        for code in server.features
    }
    items |= {item: code in networks for code, item in _NETWORK_ITEMS.items()}
    commissionable = [each for each in services if each.type == COMMISSIONABLE_TYPE]
    txt = {key for service in commissionable for key in service.txt}
    subtypes = {subtype[:2] for service in commissionable for subtype in service.subtypes}
    items |= {item: key in txt for key, item in _TXT_ITEMS.items()}
    items |= {item: kind in subtypes for kind, item in _SUBTYPE_ITEMS.items()}
    return items


def cluster_items(node: Node, endpoint: int | None = None) -> dict[str, bool]:
    """Return the items of all clusters, False for clusters that the endpoint (or node) lacks."""
    items = {f"{code}.S": False for code in CLUSTER_CODES.values()}
    for number, each in sorted(node.endpoints.items()):
        if endpoint is not None and number != endpoint:
            continue
        for server in each.clusters.values():
            if isinstance(server, ClusterServer) and server.id in CLUSTER_CODES:
                for key, value in _server_items(server, CLUSTER_CODES[server.id]):
                    items[key] = value or items.get(key, False)
    return dict(sorted(items.items()))


def _server_items(server: ClusterServer, code: str) -> Iterator[tuple[str, bool]]:
    definition = server.definition
    yield f"{code}.S", True
    for feature in definition.features:
        yield f"{code}.S.F{feature.bit:02x}", feature.code in server.features
    for id_ in definition.attributes.keys() | server.attributes.keys():
        if id_ < GENERATED_COMMAND_LIST:
            yield f"{code}.S.A{id_:04x}", id_ in server.attributes
    for id_ in definition.commands:
        yield f"{code}.S.C{id_:02x}.Rsp", id_ in server.commands
    responses = {entry.response_id for entry in server.commands.values()}
    for id_ in definition.responses:
        yield f"{code}.S.C{id_:02x}.Tx", id_ in responses
    for id_ in definition.events:
        yield f"{code}.S.E{id_:02x}", id_ in server.events
