"""Device Energy Management Mode: the optimizations that the user allows.

Spec: Matter Application Clusters 1.3 "Device Energy Management Mode Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import serves
from evse_node.cluster.servers.shared.mode_base import Mode, ModeBase

NO_OPTIMIZATION: Final = 0x4000
DEVICE_OPTIMIZATION: Final = 0x4001
LOCAL_OPTIMIZATION: Final = 0x4002
GRID_OPTIMIZATION: Final = 0x4003

MODES: Final = (
    Mode(0, "No energy management", (NO_OPTIMIZATION,)),
    Mode(1, "Device", (DEVICE_OPTIMIZATION,)),
    Mode(2, "Device and home", (DEVICE_OPTIMIZATION, LOCAL_OPTIMIZATION)),
    Mode(3, "Device and grid", (DEVICE_OPTIMIZATION, GRID_OPTIMIZATION)),
    Mode(4, "Device, home and grid", (DEVICE_OPTIMIZATION, LOCAL_OPTIMIZATION, GRID_OPTIMIZATION)),
)


@serves("Device Energy Management Mode")
class DeviceEnergyManagementMode(ModeBase):
    """The modes of one appliance, initially the last, which allows every optimization."""

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode] = MODES,
    ) -> None:
        super().__init__(definition, on_change, modes=modes, default=modes[-1])
