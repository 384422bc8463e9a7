"""Requests and answers of the control API; its OpenAPI schemas are made from these types.

Members with units carry them in their names: mA, mWh, seconds. UTC is in seconds since 1970.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from msgspec import Meta, Struct

from evse_node.errors import EvseNodeError
from evse_node.hal.simulated.backend import SimulationStatus
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState


class ApiError(EvseNodeError):
    """A request that cannot be served; becomes an `Error` with this HTTP status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class ErrorDetail(Struct, frozen=True):
    """`code` is the name of the HTTP status in lower case, like `not-found`."""

    code: str
    message: str


class Error(Struct, frozen=True):
    """Answer to a request that cannot be served."""

    error: ErrorDetail


# Requests


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a POST request. An empty body stands for `{}`."""


class FactoryReset(Request, frozen=True):
    """Request without members."""


class ClearFaults(Request, frozen=True):
    """Request without members."""


class SetSurplus(Request, frozen=True):
    """Solar surplus for the charger."""

    watts: Annotated[
        float,
        Meta(
            ge=-1_000_000,
            le=1_000_000,
            description=(
                "-1000000 to 1000000 W of surplus power, including what already charges the car"
            ),
        ),
    ]
    seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=86_400,
                description="1 to 86400 s of validity; without it, as the setting surplus-seconds",
            ),
        ]
        | None
    ) = None


class CarRequest(Request, frozen=True):
    """Request to the simulated car and its board."""


class PlugIn(CarRequest, frozen=True):
    """Request without members."""


class Unplug(CarRequest, frozen=True):
    """Request without members."""


class Demand(CarRequest, frozen=True):
    """Request without members."""


class NoDemand(CarRequest, frozen=True):
    """Request without members."""


class Tap(CarRequest, frozen=True):
    """Card held to the RFID reader."""

    uid: Annotated[
        str,
        Meta(
            pattern=r"^([0-9A-Fa-f]{2}){1,10}\Z",
            description="the card's UID, 1 to 10 bytes as hexadecimal digits",
        ),
    ]


class ReportFault(CarRequest, frozen=True):
    """Fault of the hardware."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z]+\Z",
            description="a fault of the cluster's FaultStateEnum, like OverTemperature",
        ),
    ]


class ClearFault(CarRequest, frozen=True):
    """Request without members."""


class SetBattery(CarRequest, frozen=True):
    """Battery of the car; a member left out stays as it is."""

    soc_percent: (
        Annotated[int, Meta(ge=0, le=100, description="0 to 100 percent state of charge")] | None
    ) = None
    capacity_mwh: (
        Annotated[
            int, Meta(ge=1, le=10**12, description="1 to 1000000000000 mWh of battery capacity")
        ]
        | None
    ) = None


class SetTemperature(CarRequest, frozen=True):
    """Temperature of the board."""

    celsius: Annotated[int, Meta(ge=-40, le=150, description="-40 to 150 degrees Celsius")]


class SetHouseSurplus(CarRequest, frozen=True):
    """Solar surplus of the simulated house."""

    watts: Annotated[
        float,
        Meta(ge=-1_000_000, le=1_000_000, description="-1000000 to 1000000 W of surplus power"),
    ]


class Derate(CarRequest, frozen=True):
    """Limit of hot hardware."""

    current_ma: (
        Annotated[
            int,
            Meta(ge=0, le=80_000, description="0 to 80000 mA; without it, the limit ends"),
        ]
        | None
    ) = None


# Answers


class Done(Struct, frozen=True):
    """Answer to a request that has no other."""

    done: bool = True


class Onboarding(Struct, frozen=True):
    """Codes to commission the node with."""

    qr_code: str
    manual_code: str
    passcode: int
    discriminator: int
    vendor_id: int
    product_id: int

    def __repr__(self) -> str:
        return "Onboarding(...)"


class VehicleStatus(Struct, frozen=True):
    """Data reported by the vehicle; null when unknown."""

    state_of_charge_percent: int | None
    battery_capacity_mwh: int | None
    id: str | None


class NextChargeStatus(Struct, frozen=True):
    """Plan for the next charging target."""

    start_utc_s: int | None
    target_utc_s: int | None
    required_energy_mwh: int | None
    target_soc_percent: int | None
    is_met: bool


class SessionStatus(Struct, frozen=True):
    """The running session, or the last one."""

    id: int
    is_active: bool
    duration_s: int
    energy_charged_mwh: int
    energy_discharged_mwh: int
    range_charged_km: int | None


class MeterStatus(Struct, frozen=True):
    """The charger's meter: readings that were dropped as impossible, exchanges for another one.

    `is_reversed`: it is wired backwards, which shows on a charger that cannot discharge.
    """

    dropped_readings: int
    exchanges: int
    is_reversed: bool


class ChargerStatus(Struct, frozen=True):
    """State of the charger. Of the limits, the lowest counts."""

    state: State
    supply_state: SupplyState
    fault: FaultState
    faults: list[FaultState]
    control_pilot: PilotState | None
    pilot_output: PilotOutput
    offered_ma: int
    contactor: ContactorState
    is_locked: bool
    is_held: Annotated[bool, Meta(description="A schedule delays charging.")]
    is_card_awaited: Annotated[bool, Meta(description="Charging waits for a card.")]
    is_closing_limited: Annotated[
        bool, Meta(description="The contactor closed too often in a minute, and pauses.")
    ]
    charging_enabled: bool
    discharging_enabled: bool
    charge_limit_ma: int
    charge_limit_source: LimitSource | None
    charge_limits_ma: dict[LimitSource, int]
    discharge_limits_ma: dict[LimitSource, int]
    vehicle: VehicleStatus
    next_charge: NextChargeStatus
    session: SessionStatus | None
    meter: MeterStatus | None


class FabricStatus(Struct, frozen=True):
    """One commissioned fabric; ids as 16 hexadecimal digits."""

    index: int
    label: str
    vendor_id: int
    fabric_id: str
    node_id: str


class NodeStatus(Struct, frozen=True):
    """State of the Matter node."""

    version: str
    backend: str
    storage: str
    port: int
    host: str
    interfaces: list[str]
    commissioning_window: Annotated[
        str, Meta(extra_json_schema={"enum": ["closed", "basic", "enhanced"]})
    ]
    fabrics: list[FabricStatus]


class Status(Struct, frozen=True):
    """State of charger and node; `simulation` is null with real hardware."""

    charger: ChargerStatus
    simulation: SimulationStatus | None
    node: NodeStatus
