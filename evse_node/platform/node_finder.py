"""Search for other nodes of the fabrics on the network, by their operational names.

Spec: Matter Core 1.3 "Operational Discovery"
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from evse_node.matter.fabrics.discovery import OPERATIONAL_TYPE, operational_instance
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.messaging.session import Address
from evse_node.matter.node_time import OnFound
from evse_node.platform.task_set import TaskSet

_LOGGER: Final = logging.getLogger(__name__)

Resolve = Callable[[str, str], Awaitable[Address | None]]
"""Look-up of a service by DNS-SD: `await resolve(type, instance)`."""


class NodeFinder:
    """Look-ups of nodes, in tasks of the running event loop.

    `on_done` is called after each answer, so that resulting messages can be sent.
    """

    def __init__(
        self,
        resolve: Resolve,
        fabrics: FabricTable,
        monotonic: Callable[[], float],
        on_done: Callable[[], None],
    ) -> None:
        self._resolve = resolve
        self._fabrics = fabrics
        self._monotonic = monotonic
        self._on_done = on_done
        self._tasks = TaskSet()
        self.close = self._tasks.close

    def find(self, fabric_index: int, node_id: int, on_found: OnFound, now: float) -> None:
        """Look up a node of one of the fabrics."""
        fabric = self._fabrics.get(fabric_index)
        if fabric is None:
            on_found(None, now)
            return
        instance = operational_instance(fabric.compressed_fabric_id, node_id)
        self._tasks.start(self._find(instance, on_found))

    async def _find(self, instance: str, on_found: OnFound) -> None:
        address = await self._resolve(OPERATIONAL_TYPE, instance)
        _LOGGER.debug("%s is at %s", instance, address)
        on_found(address, self._monotonic())
        self._on_done()
