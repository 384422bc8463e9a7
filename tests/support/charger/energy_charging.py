"""A simulated vehicle with energy management, and requests of a controller."""

from __future__ import annotations

from evse_node.matter.interaction.status import Status
from evse_node.state_machine.events import EnableCharging
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import Milliamps, MilliwattHours
from tests.support.charger.charger_host import KNOWN, store_with_vehicle
from tests.support.charger.energy_host import PFR_MAP, EnergyHost
from tests.support.matter.values import as_int

LOCAL, GRID = 0, 1
OFFLINE, ONLINE, FAULT, POWER_ADJUST_ACTIVE, PAUSED = range(5)
NORMAL_COMPLETION, CAUSE_OFFLINE, CAUSE_FAULT, USER_OPT_OUT, CANCELLED = range(5)
MANUAL, SCHEDULED = 0, 1
# 16 A at 230 V
FULL_MW = 3_680_000
ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
NO_SOC = frozenset({"PREF"})
HOUR = 3600


def charging(feature_map: str = PFR_MAP, **kwargs: object) -> EnergyHost:
    """Return a host with a vehicle that charges at 16 A, without a target."""
    host = EnergyHost(feature_map, **kwargs)  # type: ignore[arg-type]
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert current(host) == 16_000
    return host


def scheduled(
    feature_map: str = PFR_MAP, *, energy_mwh: int = 7_360_000, mode: int = SCHEDULED
) -> EnergyHost:
    """Return a host with a vehicle of known draw 16 A that needs two hours until 16:00."""
    store = store_with_vehicle(1, 16_000)
    host = EnergyHost(feature_map, features=NO_SOC, store=store, settings=KNOWN)
    host.call(host.mode, "ChangeToMode", new_mode=mode)
    target = ChargingTarget(16 * 60, None, MilliwattHours(energy_mwh))
    host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    return host


def current(host: EnergyHost) -> int:
    return as_int(host.backend.status()["current_ma"])


def charged(host: EnergyHost) -> int:
    return as_int(host.backend.status()["imported_mwh"])


def adjust(host: EnergyHost, power: int, duration: int, cause: int = LOCAL) -> Status:
    return host.manage("PowerAdjustRequest", power=power, duration=duration, cause=cause)


def pause(host: EnergyHost, duration: int, cause: int = LOCAL) -> Status:
    return host.manage("PauseRequest", duration=duration, cause=cause)


def start_at(host: EnergyHost, time: int, cause: int = LOCAL) -> Status:
    return host.manage("StartTimeAdjustRequest", requested_start_time=time, cause=cause)
