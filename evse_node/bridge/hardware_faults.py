"""The bridge from the charger's faults to the faults of its hardware in General Diagnostics.

Only what is wrong with the charger, its sensors or its supply counts. A fault of the vehicle,
of a cable or of what a person did is none of the hardware, nor is one that nobody can
explain; nor are those of a test, in which a play vehicle stands in for the hardware.

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
    # Over when the board has cooled down.
    FaultState.OVER_TEMPERATURE: HardwareFault.RESETTABLE_OVER_TEMP,
    FaultState.OVER_VOLTAGE: HardwareFault.POWER_SOURCE,
    FaultState.UNDER_VOLTAGE: HardwareFault.POWER_SOURCE,
    FaultState.POWER_LOSS: HardwareFault.POWER_SOURCE,
    FaultState.POWER_QUALITY: HardwareFault.POWER_SOURCE,
    FaultState.WRONG_POWER_SUPPLY: HardwareFault.POWER_SOURCE,
    FaultState.LIVE_NEUTRAL_SWAP: HardwareFault.POWER_SOURCE,
    # A contactor is hardware that has no kind of its own.
    FaultState.CONTACT_WET_FAILURE: HardwareFault.UNSPECIFIED,
    FaultState.CONTACT_DRY_FAILURE: HardwareFault.UNSPECIFIED,
}


class HardwareFaultsBridge:
    """Tells General Diagnostics of one charger's faults."""

    def __init__(self, charger: Charger, diagnostics: GeneralDiagnosticsServer) -> None:
        self._charger = charger
        self._diagnostics = diagnostics
        self._told: tuple[FaultState, ...] = ()

    def start(self, now: float) -> None:
        """Begin to follow the charger; the cluster is attached."""
        self._charger.observers.append(self._on_charger)
        self._on_charger(self._charger.snapshot(), (), now)

    def _on_charger(
        self, snapshot: Snapshot, notices: tuple[Notification, ...], now: float
    ) -> None:
        if snapshot.is_test_mode or snapshot.faults == self._told:
            return
        self._told = snapshot.faults
        self._diagnostics.set_hardware_faults(
            [HARDWARE_FAULTS[fault] for fault in snapshot.faults if fault in HARDWARE_FAULTS]
        )
