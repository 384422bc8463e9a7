"""Maps the charger's faults to the hardware faults of General Diagnostics.

Only faults of the charger, its sensors and its supply are mapped: not those of the vehicle, the
cable or the user, nor unexplained ones, nor those of a test event.

Spec: Matter Core 1.3 "HardwareFaultEnum"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evse_node.charger import Charger, Snapshot
from evse_node.cluster.servers.root.general_diagnostics import (
    GeneralDiagnosticsServer,
    HardwareFault,
)
from evse_node.state_machine.effects import Notification
from evse_node.state_machine.faults import FaultState

HARDWARE_FAULTS: Final[Mapping[FaultState, HardwareFault]] = {
    FaultState.METER_FAILURE: HardwareFault.SENSOR,
    # Ends when the board has cooled down.
    FaultState.OVER_TEMPERATURE: HardwareFault.RESETTABLE_OVER_TEMP,
    FaultState.OVER_VOLTAGE: HardwareFault.POWER_SOURCE,
    FaultState.UNDER_VOLTAGE: HardwareFault.POWER_SOURCE,
    FaultState.POWER_LOSS: HardwareFault.POWER_SOURCE,
    FaultState.POWER_QUALITY: HardwareFault.POWER_SOURCE,
    FaultState.WRONG_POWER_SUPPLY: HardwareFault.POWER_SOURCE,
    FaultState.LIVE_NEUTRAL_SWAP: HardwareFault.POWER_SOURCE,
    # There is no value for contactors.
    FaultState.CONTACT_WET_FAILURE: HardwareFault.UNSPECIFIED,
    FaultState.CONTACT_DRY_FAILURE: HardwareFault.UNSPECIFIED,
}


class HardwareFaultsBridge:
    """Reports the faults of one charger to General Diagnostics."""

    def __init__(self, charger: Charger, diagnostics: GeneralDiagnosticsServer) -> None:
        self._charger = charger
        self._diagnostics = diagnostics
        self._reported: tuple[FaultState, ...] = ()

    def start(self, now: float) -> None:
        """Start observing the charger; the cluster must be attached."""
        self._charger.observers.append(self._on_charger)
        self._on_charger(self._charger.snapshot(), (), now)

    def _on_charger(
        self, snapshot: Snapshot, notifications: tuple[Notification, ...], now: float
    ) -> None:
        if snapshot.is_test_mode or snapshot.faults == self._reported:
            return
        self._reported = snapshot.faults
        self._diagnostics.set_hardware_faults(
            [HARDWARE_FAULTS[fault] for fault in snapshot.faults if fault in HARDWARE_FAULTS]
        )
