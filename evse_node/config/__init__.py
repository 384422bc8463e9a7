"""Configuration of a node: flags, environment variables and TOML files."""

from evse_node.config.node_config import NodeConfig, load_config

__all__ = ["NodeConfig", "load_config"]
