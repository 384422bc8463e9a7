"""One node: its parts put together, its runtime, and its control API."""

from evse_node.node.evse_node import EvseNode

__all__ = ["EvseNode"]
