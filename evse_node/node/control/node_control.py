"""Operations of the control API, carried out on a running node."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from evse_node import __version__
from evse_node.config.node_config import NodeConfig
from evse_node.errors import HalError
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.node.assembly import Assembly
from evse_node.node.control import messages
from evse_node.node.control.messages import ApiError
from evse_node.state_machine.limits import Limits, LimitSource
from evse_node.units import MATTER_EPOCH_UNIX_S, EpochSeconds, Milliamps, MilliwattHours, Milliwatts


class NodeControl:
    """One node as the control server sees it.

    `running` returns the parts of the node, None while it restarts; each method then raises
    ApiError. `watch` registers an observer of changes and returns what removes it.
    """

    def __init__(
        self,
        config: NodeConfig,
        running: Callable[[], Assembly | None],
        factory_reset: Callable[[], Awaitable[None]],
        watch: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._config = config
        self._running = running
        self._factory_reset = factory_reset
        self.watch = watch

    def status(self) -> messages.Status:
        """Return the state of charger and node."""
        parts = self._parts()
        backend = parts.backend
        return messages.Status(
            charger=charger_status(parts),
            simulation=backend.status() if isinstance(backend, SimulatedBackend) else None,
            node=self._node_status(parts),
        )

    def onboarding(self) -> messages.Onboarding:
        """Return the codes to commission the node with."""
        payload = self._parts().factory.onboarding
        return messages.Onboarding(
            qr_code=payload.qr_code(),
            manual_code=payload.manual_code(),
            passcode=payload.passcode,
            discriminator=payload.discriminator,
            vendor_id=payload.vendor_id,
            product_id=payload.product_id,
        )

    async def factory_reset(self) -> None:
        """Erase all fabrics and settings, and restart the node."""
        self._parts()
        await self._factory_reset()

    def set_surplus(self, request: messages.SetSurplus) -> None:
        """Report the solar surplus to the charger."""
        parts = self._parts()
        surplus = Milliwatts(int(1000 * request.watts))
        now, charger = time.monotonic(), parts.charger
        charger.set_surplus(surplus, now, request.seconds or charger.settings.solar.report_valid_s)
        parts.runtime.wake()

    def clear_faults(self) -> None:
        """Acknowledge the charger's faults."""
        parts = self._parts()
        parts.charger.acknowledge_faults(time.monotonic())
        parts.runtime.wake()

    def simulate(self, request: messages.CarRequest) -> None:
        """Act on the simulated car. Raises HalError with real hardware."""
        parts = self._parts()
        backend = parts.backend
        if not isinstance(backend, SimulatedBackend):
            raise HalError(f"the backend '{self._config.backend}' has no simulated car")
        try:
            _apply(request, backend)
        except ValueError as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None
        parts.runtime.wake()

    def _parts(self) -> Assembly:
        parts = self._running()
        if parts is None:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the node restarts")
        return parts

    def _node_status(self, parts: Assembly) -> messages.NodeStatus:
        return messages.NodeStatus(
            version=__version__,
            backend=self._config.backend,
            storage=str(self._config.storage),
            port=parts.port,
            host=parts.mdns.host,
            interfaces=[interface.name for interface in parts.mdns.interfaces],
            commissioning_window=parts.stack.window.status.label,
            fabrics=[
                messages.FabricStatus(
                    index=fabric.index,
                    label=fabric.label,
                    vendor_id=fabric.vendor_id,
                    fabric_id=f"{fabric.fabric_id:016X}",
                    node_id=f"{fabric.node_id:016X}",
                )
                for fabric in parts.stack.fabrics
            ],
        )


def _apply(request: messages.CarRequest, car: SimulatedBackend) -> None:
    match request:
        case messages.PlugIn():
            car.plug_in()
        case messages.Unplug():
            car.unplug()
        case messages.Demand():
            car.demand()
        case messages.NoDemand():
            car.no_demand()
        case messages.Tap(uid):
            car.tap(bytes.fromhex(uid))
        case messages.ReportFault(name):
            car.fault(name)
        case messages.ClearFault():
            car.clear_fault()
        case messages.SetBattery(soc_percent, capacity):
            capacity_mwh = None if capacity is None else MilliwattHours(capacity)
            car.set_battery(soc_percent=soc_percent, capacity_mwh=capacity_mwh)
        case messages.SetTemperature(celsius):
            car.set_temperature(celsius)
        case messages.SetHouseSurplus(watts):
            car.set_surplus(watts)
        case messages.Derate(current):
            car.derate(None if current is None else Milliamps(current))


def charger_status(parts: Assembly) -> messages.ChargerStatus:
    """Return the charger's state; names as in the cluster."""
    snapshot = parts.charger.snapshot()
    vehicle, limit, plan = snapshot.vehicle, snapshot.limit, snapshot.next_charge
    return messages.ChargerStatus(
        state=snapshot.state,
        supply_state=snapshot.supply_state,
        fault=snapshot.fault,
        faults=list(snapshot.faults),
        control_pilot=snapshot.pilot,
        pilot_output=snapshot.pilot_output,
        offered_ma=snapshot.offered_ma,
        contactor=snapshot.contactor,
        is_locked=snapshot.is_locked,
        is_held=snapshot.is_held,
        is_card_awaited=snapshot.is_card_awaited,
        is_closing_limited=snapshot.is_closing_limited,
        charging_enabled=snapshot.charging is not None,
        discharging_enabled=snapshot.discharging is not None,
        charge_limit_ma=limit.current_ma,
        charge_limit_source=limit.source,
        charge_limits_ma=_claims(parts.charger.state.charge_limits),
        discharge_limits_ma=_claims(parts.charger.state.discharge_limits),
        vehicle=messages.VehicleStatus(
            state_of_charge_percent=vehicle.state_of_charge_percent,
            battery_capacity_mwh=vehicle.battery_capacity_mwh,
            id=vehicle.id,
        ),
        next_charge=messages.NextChargeStatus(
            start_utc_s=_utc_s(plan.start_time),
            target_utc_s=_utc_s(plan.target_time),
            required_energy_mwh=plan.required_energy_mwh,
            target_soc_percent=plan.target_soc_percent,
            is_met=plan.is_met,
        ),
        session=_session_status(parts),
        meter=_meter_status(parts),
    )


def _meter_status(parts: Assembly) -> messages.MeterStatus | None:
    found = parts.charger.meter_condition
    if found is None:
        return None
    return messages.MeterStatus(found.dropped_readings, found.exchanges, found.is_reversed)


def _session_status(parts: Assembly) -> messages.SessionStatus | None:
    snapshot = parts.charger.snapshot()
    session = snapshot.session
    if session is None:
        return None
    charged = session.energy_charged_mwh(snapshot.meter)
    return messages.SessionStatus(
        id=session.id,
        is_active=session.is_active,
        duration_s=session.duration_s(time.monotonic()),
        energy_charged_mwh=charged,
        energy_discharged_mwh=session.energy_discharged_mwh(snapshot.meter),
        range_charged_km=parts.clusters.bridge.energy_evse.range_km(charged),
    )


def _utc_s(time: EpochSeconds | None) -> int | None:
    return None if time is None else time + MATTER_EPOCH_UNIX_S


def _claims(limits: Limits) -> dict[LimitSource, int]:
    return dict(limits.claims)
