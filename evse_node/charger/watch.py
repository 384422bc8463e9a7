"""Former home of `evse_node.charger.hardware_monitor`; importing it warns."""

from __future__ import annotations

import warnings

from evse_node.charger.hardware_monitor import MonitorSettings as WatchSettings

__all__ = ["WatchSettings"]

warnings.warn(
    "evse_node.charger.watch.WatchSettings is deprecated, "
    "use evse_node.charger.hardware_monitor.MonitorSettings",
    DeprecationWarning,
    stacklevel=2,
)
