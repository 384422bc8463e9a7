"""Whole nodes on the loopback interface, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from evse_node.cli.control_client import ControlClient, JsonObject, find_node, is_object
from evse_node.config.node_config import NodeConfig
from evse_node.node.evse_node import EvseNode


def config(folder: Path, **settings: object) -> NodeConfig:
    defaults: dict[str, object] = {"storage": folder, "port": 0, "interfaces": ("lo",)}
    return NodeConfig(**{**defaults, **settings})  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def kinds(node: EvseNode) -> list[str]:
    return [service.type for service in node.mdns.services]


async def call(
    folder: Path, method: str, path: str, parameters: JsonObject | None = None
) -> JsonObject:
    client = ControlClient(find_node(folder), folder)
    return await asyncio.to_thread(client.call, method, path, parameters)


def part(status: JsonObject, name: str) -> JsonObject:
    found = status[name]
    assert is_object(found)
    return found
