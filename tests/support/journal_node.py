"""A node for tests of the control server, which only records the requests it receives."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from msgspec.structs import asdict

from evse_node.errors import HalError
from evse_node.node.control.messages import (
    ApiError,
    CarRequest,
    ChargerStatus,
    Demand,
    NextChargeStatus,
    NoDemand,
    NodeStatus,
    Onboarding,
    Request,
    SetSurplus,
    Status,
    Unplug,
    VehicleStatus,
)
from evse_node.node.control.node_control import NodeControl
from evse_node.state_machine.control_pilot import PilotOutput
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import ContactorState


class JournalNode(NodeControl):
    """Recorder of requests; `status` shows the journal in place of the interfaces."""

    def __init__(self) -> None:
        self.is_restarting = False
        self.journal: list[str] = []
        self.observers: list[Callable[[], None]] = []

    def status(self) -> Status:
        if self.is_restarting:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the node restarts")
        return status(self.journal)

    def onboarding(self) -> Onboarding:
        return Onboarding("MT:", "34970112332", 20202021, 3840, 0xFFF1, 0x8001)

    async def factory_reset(self) -> None:
        self.journal.append("factory_reset")

    def set_surplus(self, request: SetSurplus) -> None:
        self._record(request)

    def clear_faults(self) -> None:
        self.journal.append("clear_faults")

    def simulate(self, request: CarRequest) -> None:
        if isinstance(request, Unplug):
            raise HalError("the lock is stuck")
        if isinstance(request, Demand):
            raise ApiError(HTTPStatus.CONFLICT, "no car is plugged in")
        if isinstance(request, NoDemand):
            raise RuntimeError("a secret")
        self._record(request)
        for observer in self.observers:
            observer()

    def watch(self, observer: Callable[[], None]) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def _record(self, request: Request) -> None:
        self.journal.append(f"{type(request).__name__} {asdict(request)}")


def status(journal: list[str]) -> Status:
    """Return the status of an idle charger."""
    charger = ChargerStatus(
        state=State.NOT_PLUGGED_IN,
        supply_state=SupplyState.DISABLED,
        fault=FaultState.NO_ERROR,
        faults=[],
        control_pilot=None,
        pilot_output=PilotOutput.X1,
        offered_ma=0,
        contactor=ContactorState.OPEN,
        is_locked=False,
        is_held=False,
        is_card_awaited=False,
        is_closing_limited=False,
        charging_enabled=False,
        discharging_enabled=False,
        charge_limit_ma=0,
        charge_limit_source=None,
        charge_limits_ma={},
        discharge_limits_ma={},
        vehicle=VehicleStatus(None, None, None),
        next_charge=NextChargeStatus(None, None, None, None, False),
        session=None,
        meter=None,
    )
    node = NodeStatus("0", "simulated", "", 0, "", list(journal), "closed", [])
    return Status(charger, None, node)
