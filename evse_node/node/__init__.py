"""One node: its parts, its runtime, and its control API."""

from evse_node.node.evse_node import EvseNode

__all__ = ["EvseNode"]
