"""Power Source: the mains that supply the charger and, through it, the vehicle.

Not implemented: Battery, Rechargeable, Replaceable (features BAT, RECHG, REPLC).

Spec: Matter Core 1.3 "Power Source Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, serves

# Members of PowerSourceStatusEnum and WiredCurrentTypeEnum
_ACTIVE: Final = 1
_ALTERNATING: Final = 0
_MAX_DESCRIPTION: Final = 60
_OPTIONAL: Final = (
    "WiredAssessedInputVoltage",
    "WiredAssessedInputFrequency",
    "WiredAssessedCurrent",
    "WiredNominalVoltage",
    "WiredMaximumCurrent",
    "WiredPresent",
    "ActiveWiredFaults",
    "WiredFaultChange",
)


class WiredFault(IntEnum):
    """Spec: Matter Core 1.3 "WiredFaultEnum"."""

    UNSPECIFIED = 0
    OVER_VOLTAGE = 1
    UNDER_VOLTAGE = 2


class Mains(Struct, frozen=True):
    """The supply of the installation; `description` has at most 60 bytes."""

    nominal_voltage_mv: int
    maximum_current_ma: int
    description: str = "Mains"


@serves("Power Source")
class PowerSource(ClusterServer):
    """A wired AC source, present as long as the node runs.

    `endpoints` are those that it powers beside its own.
    """

    status: Attribute[int]
    order: Attribute[int]
    description: Attribute[str]
    wired_current_type: Attribute[int]
    wired_nominal_voltage: Attribute[int]
    wired_maximum_current: Attribute[int]
    wired_present: Attribute[bool]
    wired_assessed_input_voltage: Attribute[int | None]
    wired_assessed_input_frequency: Attribute[int | None]
    wired_assessed_current: Attribute[int | None]
    active_wired_faults: Attribute[Sequence[WiredFault]]
    endpoint_list: Attribute[Sequence[int]]

    def __init__(
        self, definition: ClusterDefinition, mains: Mains, *, endpoints: Sequence[int] = ()
    ) -> None:
        description = mains.description.encode()[:_MAX_DESCRIPTION].decode(errors="ignore")
        super().__init__(definition, features=["WIRED"], optional=_OPTIONAL)
        self.status = _ACTIVE
        self.order = 0
        self.description = description
        self.wired_current_type = _ALTERNATING
        self.wired_nominal_voltage = mains.nominal_voltage_mv
        self.wired_maximum_current = mains.maximum_current_ma
        self.wired_present = True
        self.endpoint_list = endpoints

    def attached(self) -> None:
        """Add the own endpoint to the list."""
        self.endpoint_list = sorted({*self.endpoint_list, self.endpoint_id})

    def assess(
        self, *, voltage_mv: int | None, current_ma: int | None, frequency_hz: int | None = None
    ) -> None:
        """Set the values measured at the input, None for unknown. Subscribers get no reports."""
        with self.changes():
            self.wired_assessed_input_voltage = voltage_mv
            self.wired_assessed_current = current_ma
            self.wired_assessed_input_frequency = frequency_hz

    def set_faults(self, faults: Collection[WiredFault]) -> None:
        """Set the active faults of the mains."""
        current, previous = sorted(set(faults)), self.active_wired_faults
        if current == previous:
            return
        self.active_wired_faults = current
        self.emit("WiredFaultChange", current=current, previous=previous)
