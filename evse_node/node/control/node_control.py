"""A node as the control API sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from evse_node import __version__
from evse_node.charger import Snapshot
from evse_node.node.control.api import ApiError, JsonObject, JsonValue
from evse_node.state_machine.limits import Limits
from evse_node.units import (
    MATTER_EPOCH_UNIX_S,
    EpochSeconds,
    Milliamps,
    MilliwattHours,
    Milliwatts,
)

if TYPE_CHECKING:
    from evse_node.node.evse_node import EvseNode


class NodeControl:
    """Answers the operations of the control API from one node."""

    def __init__(self, node: EvseNode) -> None:
        self._node = node

    def status(self) -> JsonObject:
        """Return the data of /status. Raises ApiError while the node restarts."""
        self._check_running()
        node = self._node
        simulation: JsonValue = None
        if node.has_car:
            simulation = {key: _json(value) for key, value in node.car.status().items()}
        return {
            "charger": describe_charger(
                node.state,
                node.charger.state.charge_limits,
                node.charger.state.discharge_limits,
                node.range_km,
            ),
            "simulation": simulation,
            "node": self._describe_node(),
        }

    def onboarding(self) -> JsonObject:
        """Return the data of /onboarding."""
        self._check_running()
        payload = self._node.factory.onboarding
        return {
            "qr_code": payload.qr_code(),
            "manual_code": payload.manual_code(),
            "passcode": payload.passcode,
            "discriminator": payload.discriminator,
            "vendor_id": payload.vendor_id,
            "product_id": payload.product_id,
        }

    async def factory_reset(self) -> None:
        """Forget all that a factory reset forgets, and start anew."""
        self._check_running()
        await self._node.factory_reset()

    def act(self, action: str, parameters: JsonObject) -> None:
        """Act on the charger. Raises ApiError while the node restarts."""
        self._check_running()
        charger, now = self._node.charger, time.monotonic()
        if action == "surplus":
            surplus = Milliwatts(1000 * (_integer(parameters.get("watts")) or 0))
            charger.set_surplus(surplus, now, _integer(parameters.get("seconds")))
        else:
            charger.acknowledge_faults(now)
        self._node.wake()

    def simulate(self, action: str, parameters: JsonObject) -> None:
        """Act on the simulated car. Raises ApiError for what it cannot do."""
        self._check_running()
        car = self._node.car
        try:
            match action:
                case "plug-in":
                    car.plug_in()
                case "unplug":
                    car.unplug()
                case "demand":
                    car.demand()
                case "no-demand":
                    car.no_demand()
                case "tap":
                    car.tap(bytes.fromhex(str(parameters["uid"])))
                case "fault":
                    car.fault(str(parameters["name"]))
                case "clear-fault":
                    car.clear_fault()
                case "battery":
                    capacity = _integer(parameters.get("capacity_mwh"))
                    car.set_battery(
                        soc_percent=_integer(parameters.get("soc_percent")),
                        capacity_mwh=None if capacity is None else MilliwattHours(capacity),
                    )
                case "temperature":
                    car.set_temperature(_integer(parameters["celsius"]) or 0)
                case "surplus":
                    car.set_surplus(_integer(parameters["watts"]) or 0)
                case "derate":
                    current = _integer(parameters.get("current_ma"))
                    car.derate(None if current is None else Milliamps(current))
                case _:
                    raise ApiError(HTTPStatus.NOT_FOUND, f"no such action: {action}")
        except ValueError as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None
        self._node.wake()

    def watch(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call `observer` after every change; return what ends that."""
        return self._node.watch(observer)

    def _check_running(self) -> None:
        if not self._node.is_running:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the node restarts")

    def _describe_node(self) -> JsonObject:
        node = self._node
        return {
            "version": __version__,
            "backend": node.config.backend,
            "storage": str(node.config.storage),
            "port": node.port,
            "host": node.mdns.host,
            "interfaces": [interface.name for interface in node.mdns.interfaces],
            "commissioning_window": node.stack.window.status.label,
            "fabrics": [
                {
                    "index": fabric.index,
                    "label": fabric.label,
                    "vendor_id": fabric.vendor_id,
                    "fabric_id": f"{fabric.fabric_id:016X}",
                    "node_id": f"{fabric.node_id:016X}",
                }
                for fabric in node.stack.fabrics
            ],
        }


def describe_charger(
    snapshot: Snapshot,
    charge_limits: Limits,
    discharge_limits: Limits,
    range_km: Callable[[int], int | None],
) -> JsonObject:
    """Return the charger's state as JSON; names as in the cluster, units in the keys.

    `range_km` returns how far the vehicle gets with an energy, if that is known.
    """
    session, vehicle, limit = snapshot.session, snapshot.vehicle, snapshot.limit
    plan = snapshot.next_charge
    return {
        "state": snapshot.state.value,
        "supply_state": snapshot.supply_state.value,
        "fault": snapshot.fault.value,
        "faults": [fault.value for fault in snapshot.faults],
        "control_pilot": None if snapshot.pilot is None else snapshot.pilot.value,
        "pilot_output": snapshot.pilot_output.value,
        "offered_ma": snapshot.offered_ma,
        "contactor": snapshot.contactor.value,
        "is_locked": snapshot.is_locked,
        "is_held": snapshot.is_held,
        "is_card_awaited": snapshot.is_card_awaited,
        "charging_enabled": snapshot.charging is not None,
        "discharging_enabled": snapshot.discharging is not None,
        "charge_limit_ma": limit.current_ma,
        "charge_limit_source": None if limit.source is None else limit.source.value,
        "charge_limits_ma": _claims(charge_limits),
        "discharge_limits_ma": _claims(discharge_limits),
        "vehicle": {
            "state_of_charge_percent": vehicle.state_of_charge_percent,
            "battery_capacity_mwh": vehicle.battery_capacity_mwh,
            "id": vehicle.id,
        },
        "next_charge": {
            "start_utc_s": _utc_s(plan.start_time),
            "target_utc_s": _utc_s(plan.target_time),
            "required_energy_mwh": plan.required_energy_mwh,
            "target_soc_percent": plan.target_soc_percent,
            "is_met": plan.is_met,
        },
        "session": None
        if session is None
        else {
            "id": session.id,
            "is_active": session.is_active,
            "duration_s": session.duration_s(time.monotonic()),
            "energy_charged_mwh": session.energy_charged_mwh(snapshot.meter),
            "energy_discharged_mwh": session.energy_discharged_mwh(snapshot.meter),
            "range_charged_km": range_km(session.energy_charged_mwh(snapshot.meter)),
        },
    }


def _utc_s(time: EpochSeconds | None) -> int | None:
    return None if time is None else time + MATTER_EPOCH_UNIX_S


def _claims(limits: Limits) -> JsonObject:
    return {source.value: int(current) for source, current in limits.claims.items()}


def _integer(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _json(value: object) -> JsonValue:
    return value if isinstance(value, bool | int | float | str) else None
