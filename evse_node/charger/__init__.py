"""The charger at run time: state machine, hardware, plans and storage."""

from evse_node.charger.charger import Charger
from evse_node.charger.snapshot import ChargerSettings, Snapshot

__all__ = ["Charger", "ChargerSettings", "Snapshot"]
