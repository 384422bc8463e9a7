"""Power Source: the mains that the charger lives on and passes on.

Not implemented: Battery, Rechargeable, Replaceable (features BAT, RECHG, REPLC).

Spec: Matter Core 1.3 "Power Source Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves

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


class SourceStatus(IntEnum):
    """Spec: Matter Core 1.3 "PowerSourceStatusEnum"."""

    UNSPECIFIED = 0
    ACTIVE = 1
    STANDBY = 2
    UNAVAILABLE = 3


class WiredFault(IntEnum):
    """Spec: Matter Core 1.3 "WiredFaultEnum"."""

    UNSPECIFIED = 0
    OVER_VOLTAGE = 1
    UNDER_VOLTAGE = 2


class Mains(Struct, frozen=True):
    """What the installation provides; `description` has at most 60 bytes."""

    nominal_voltage_mv: int
    maximum_current_ma: int
    description: str = "Mains"


@serves("Power Source")
class PowerSource(ClusterServer):
    """A wired source of alternating current. It is there as long as the node can tell of it.

    `endpoints` are those that it powers; without them, only its own.
    """

    def __init__(
        self, definition: ClusterDefinition, mains: Mains, *, endpoints: Sequence[int] = ()
    ) -> None:
        description = mains.description.encode()[:_MAX_DESCRIPTION].decode(errors="ignore")
        super().__init__(
            definition,
            features=["WIRED"],
            optional=_OPTIONAL,
            values={
                "status": SourceStatus.ACTIVE,
                "order": 0,
                "description": description,
                "wired_current_type": _ALTERNATING,
                "wired_nominal_voltage": mains.nominal_voltage_mv,
                "wired_maximum_current": mains.maximum_current_ma,
                "wired_present": True,
                "endpoint_list": list(endpoints),
            },
        )
        self._endpoints = tuple(endpoints)

    def attached(self) -> None:
        """List the own endpoint."""
        self.set(endpoint_list=sorted({*self._endpoints, self.endpoint_id}))

    def assess(
        self, *, voltage_mv: int | None, current_ma: int | None, frequency_hz: int | None = None
    ) -> None:
        """Take what is measured at the input; None is not known. Nothing of it is reported."""
        self.set(
            wired_assessed_input_voltage=voltage_mv,
            wired_assessed_current=current_ma,
            wired_assessed_input_frequency=frequency_hz,
        )

    def set_faults(self, faults: Collection[WiredFault]) -> None:
        """Tell which faults the mains have now."""
        current: list[Value] = [*sorted(set(faults))]
        previous = self.get("active_wired_faults")
        if current == previous:
            return
        self.set(active_wired_faults=current)
        self.emit("WiredFaultChange", current=current, previous=previous)
