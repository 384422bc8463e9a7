"""Energy EVSE Mode: manual, scheduled or solar charging.

Spec: Matter Application Clusters 1.3 "Energy EVSE Mode Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import serves
from evse_node.cluster.servers.shared.mode_base import Mode, ModeBase

MANUAL: Final = 0x4000
TIME_OF_USE: Final = 0x4001
SOLAR_CHARGING: Final = 0x4002

MODES: Final = (
    Mode(0, "Manual", (MANUAL,)),
    Mode(1, "Scheduled", (TIME_OF_USE,)),
    Mode(2, "Solar", (SOLAR_CHARGING,)),
    Mode(3, "Scheduled and solar", (TIME_OF_USE, SOLAR_CHARGING)),
)


@serves("Energy EVSE Mode")
class EnergyEvseMode(ModeBase):
    """The modes of one charger, initially the first."""

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode] = MODES,
    ) -> None:
        super().__init__(definition, on_change, modes=modes, default=modes[0])
