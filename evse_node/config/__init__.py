"""The configuration of a node: settings, environment variables and TOML files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evse_node.config.node_config import NodeConfig

__all__ = ["NodeConfig"]


def __getattr__(name: str) -> object:
    """Import `NodeConfig` on first use: `reading` serves layers below the settings."""
    if name == "NodeConfig":
        from evse_node.config.node_config import NodeConfig

        return NodeConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
