"""The charger at work: the machine, the hardware under it, and what outlives a restart."""

from evse_node.charger.charger import Charger
from evse_node.charger.snapshot import ChargerSettings, Snapshot

__all__ = ["Charger", "ChargerSettings", "Snapshot"]
