"""Contract of a backend, as checks that run on any backend: simulated, built in, or your own.

A check drives a `Bench`, which is the backend and a vehicle to go with it, and compares the
events of the backend and the voltage at the socket with what `evse_node.hal.interface` requires.
With pytest:

    @pytest.mark.parametrize("check", CHECKS)
    async def test_contract(check: str) -> None:
        await run_check(check, MyBench())

A broken rule raises AssertionError with a sentence that names it. Capabilities that the backend
lacks (None in `EvseBackend`) are not checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from evse_node.errors import HalError
from evse_node.hal import interface as hal
from evse_node.state_machine.control_pilot import PilotState
from evse_node.testing.bench import (
    OFFER,
    Bench,
    Done,
    charge,
    close,
    events_of,
    expect,
    expect_feedback,
    finish,
    plug_in_and_demand,
)
from evse_node.units import Milliamps

__all__ = ["CHECKS", "Bench", "Done", "run_check"]

_PROTOCOLS: Final[Mapping[str, type[object]]] = {
    "control_pilot": hal.ControlPilot,
    "contactor": hal.Contactor,
    "proximity_pilot": hal.ProximityPilot,
    "lock": hal.CableLock,
    "meter": hal.Meter,
    "grid_meter": hal.GridMeter,
    "rfid_reader": hal.RfidReader,
    "residual_current_device": hal.ResidualCurrentDevice,
    "temperature_sensor": hal.TemperatureSensor,
    "self_test": hal.SelfTest,
    "discharger": hal.Discharger,
    "battery_information": hal.BatteryInformation,
    "vehicle_identification": hal.VehicleIdentification,
}
_Check: TypeAlias = Callable[[Bench], Awaitable[None]]


async def run_check(check: str, bench: Bench) -> None:
    """Start a bench, run one of `CHECKS` on it, and stop it. Raises AssertionError."""
    await bench.start()
    try:
        await CHECKS[check](bench)
    finally:
        await bench.stop()


# Members


async def _members(bench: Bench) -> None:
    for member, protocol in _PROTOCOLS.items():
        capability: object = getattr(bench.backend, member)
        if member in ("control_pilot", "contactor"):
            assert capability is not None, f"{member} is None, but required"
        if capability is not None:
            for name in vars(protocol):
                if not name.startswith("_"):
                    method: object = getattr(capability, name, None)
                    assert callable(method), (
                        f"{member} is not a {protocol.__name__}: "
                        f"{member}.{name} is {method!r}, not a method"
                    )


async def _ratings(bench: Bench) -> None:
    ratings = bench.backend.ratings
    for name, value, low, high in (
        ("maximum_current_ma", ratings.maximum_current_ma, 6_000, 80_000),
        ("phases", ratings.phases, 1, 3),
        ("nominal_voltage_mv", ratings.nominal_voltage_mv, 100_000, 500_000),
    ):
        assert low <= value <= high, f"ratings.{name} is {value}, not {low} to {high}"


# Start and stop


async def _start(bench: Bench) -> None:
    pilots = events_of(bench, hal.PilotChanged)
    expect(pilots, [hal.PilotChanged(PilotState.A)], "reports of the pilot at start")
    expect_feedback(bench, is_closed=False, when="at start")
    assert not bench.is_powered(), "the contactor is closed after start"


async def _stop(bench: Bench) -> None:
    await charge(bench)
    await bench.stop()
    assert not bench.is_powered(), "the contactor is closed after stop"
    await bench.stop()


# Pilot


async def _pilot_changes(bench: Bench) -> None:
    bench.events.clear()
    await finish(bench.plug_in())
    # An external controller notices demand only while it offers current, and then closes.
    bench.backend.control_pilot.offer(OFFER)
    for _ in range(2):
        with contextlib.suppress(HalError):
            bench.backend.contactor.close()
        await finish(bench.demand())
    await finish(bench.no_demand())
    await finish(bench.unplug())
    await finish(bench.wait(1))
    states = [event.pilot for event in events_of(bench, hal.PilotChanged)]
    expected = [PilotState.B, PilotState.C, PilotState.B, PilotState.A]
    expect(states, expected, "changes of the pilot")


async def _state_f(bench: Bench) -> None:
    await finish(bench.plug_in())
    bench.backend.control_pilot.signal_unavailable()
    await finish(bench.wait(60))
    expect(_pilot(bench), PilotState.F, "the pilot a minute after signal_unavailable()")
    bench.backend.control_pilot.withdraw()
    await finish(bench.wait(1))
    expect(_pilot(bench), PilotState.B, "the pilot a second after withdraw()")


def _pilot(bench: Bench) -> PilotState:
    return events_of(bench, hal.PilotChanged)[-1].pilot


# Contactor


async def _closes(bench: Bench) -> None:
    await plug_in_and_demand(bench)
    bench.events.clear()
    await close(bench)
    expect_feedback(bench, is_closed=True, when="after close()")


async def _opens(bench: Bench) -> None:
    await charge(bench)
    bench.backend.contactor.open()
    await finish(bench.wait(bench.backend.ratings.contactor_timeout_s))
    assert not bench.is_powered(), "the contactor did not open within contactor_timeout_s"
    expect_feedback(bench, is_closed=False, when="after open()")


async def _opens_by_itself(bench: Bench, stop_demand: Callable[[], Done]) -> None:
    await charge(bench)
    await finish(stop_demand())
    await finish(bench.wait(bench.backend.ratings.opening_s))
    assert not bench.is_powered(), (
        "the contactor did not open by itself within opening_s "
        "after the vehicle was no longer ready"
    )
    await finish(bench.wait(bench.backend.ratings.contactor_timeout_s))
    expect_feedback(bench, is_closed=False, when="after it opened by itself")


async def _opens_without_demand(bench: Bench) -> None:
    await _opens_by_itself(bench, bench.no_demand)


async def _opens_when_unplugged(bench: Bench) -> None:
    await _opens_by_itself(bench, bench.unplug)


async def _opens_in_state_f(bench: Bench) -> None:
    await charge(bench)
    bench.backend.control_pilot.signal_unavailable()
    await finish(bench.wait(0.1))
    assert not bench.is_powered(), "the contactor is closed 100 ms after signal_unavailable()"


async def _stays_open_without_order(bench: Bench) -> None:
    await charge(bench)
    await finish(bench.no_demand())
    await finish(bench.wait(1))
    await finish(bench.demand())
    await finish(bench.wait(60))
    assert not bench.is_powered(), "the contactor closed without an order when demand returned"


async def _stays_open_in_state_b(bench: Bench) -> None:
    await finish(bench.plug_in())
    with contextlib.suppress(HalError):
        bench.backend.contactor.close()
    await finish(bench.wait(1))
    assert not bench.is_powered(), "close() closed the contactor in state B"


async def _opens_twice(bench: Bench) -> None:
    bench.backend.contactor.open()
    bench.backend.contactor.open()
    await finish(bench.wait(1))
    assert not bench.is_powered(), "open() closed the contactor"


# The other capabilities


async def _cable(bench: Bench) -> None:
    if bench.backend.proximity_pilot is None:
        return
    await finish(bench.plug_in())
    kinds = [type(event) for event in bench.events]
    assert hal.CableChanged in kinds, "no CableChanged after a cable was plugged in"
    newest_pilot = len(kinds) - kinds[::-1].index(hal.PilotChanged) - 1
    assert kinds.index(hal.CableChanged) < newest_pilot, "CableChanged came after the pilot's B"
    await finish(bench.unplug())
    await finish(bench.wait(1))
    reports = [event.ampacity_ma for event in events_of(bench, hal.CableChanged)]
    expect(reports, [32_000, None], "reports of a cable of 32 A that is plugged in and out")


async def _meter(bench: Bench) -> None:
    meter = bench.backend.meter
    if meter is None:
        return
    await charge(bench)
    before = meter.read()
    await finish(bench.wait(60))
    after = meter.read()
    assert after.imported_mwh > before.imported_mwh, "imported_mwh did not grow while charging"
    expect(after.exported_mwh, before.exported_mwh, "exported_mwh while charging")
    assert after.power_mw > 0, f"power_mw is {after.power_mw} while charging"
    phases = bench.backend.ratings.phases
    counts = (len(after.voltages_mv), len(after.currents_ma))
    expect(counts, (phases, phases), "numbers of voltages_mv and currents_ma")
    await finish(bench.unplug())
    await finish(bench.wait(1))
    expect(meter.read().power_mw, 0, "power_mw without a vehicle")


async def _grid_meter(bench: Bench) -> None:
    grid_meter, meter = bench.backend.grid_meter, bench.backend.meter
    if grid_meter is None or meter is None:
        return
    before_mw = grid_meter.read_grid_power_mw()
    await charge(bench)
    await finish(bench.wait(10))
    more_mw, charging_mw = grid_meter.read_grid_power_mw() - before_mw, meter.read().power_mw
    assert 2 * more_mw > charging_mw, (
        f"grid power grew by {more_mw} mW while the vehicle charged with {charging_mw} mW"
    )


async def _rfid_reader(bench: Bench) -> None:
    if bench.backend.rfid_reader is None:
        return
    await finish(bench.tap(b"\x01\x02\x03\x04"))
    cards = events_of(bench, hal.RfidTapped)
    expect(cards, [hal.RfidTapped(b"\x01\x02\x03\x04")], "reports of a card")
    bench.backend.rfid_reader.acknowledge()


async def _lock(bench: Bench) -> None:
    lock = bench.backend.lock
    if lock is None:
        return
    await finish(bench.plug_in())
    for order in (lock.lock, lock.lock, lock.unlock, lock.unlock):
        order()


async def _residual_current_device(bench: Bench) -> None:
    if bench.backend.residual_current_device is not None:
        bench.backend.residual_current_device.reset()
        assert not bench.is_powered(), "reset() closed the contactor"


async def _temperature(bench: Bench) -> None:
    sensor = bench.backend.temperature_sensor
    if sensor is not None:
        await finish(bench.wait(2))
        value = sensor.read_millicelsius()
        assert -60_000 < value < 150_000, f"read_millicelsius() is {value}"


async def _self_test(bench: Bench) -> None:
    if bench.backend.self_test is None:
        return
    bench.backend.self_test.start_self_test()
    await finish(bench.wait(60))
    completed = events_of(bench, hal.SelfTestCompleted)
    expect(completed, [hal.SelfTestCompleted()], "a minute after start_self_test()")
    assert not bench.is_powered(), "the self-test closed the contactor"


async def _discharge(bench: Bench) -> None:
    discharger, meter = bench.backend.discharger, bench.backend.meter
    if discharger is None or meter is None:
        return
    await charge(bench)
    discharger.set_discharge(Milliamps(10_000))
    await finish(bench.wait(60))
    assert meter.read().power_mw < 0, "power_mw is not negative while discharging"
    discharger.set_discharge(None)
    await finish(bench.wait(1))
    assert meter.read().power_mw > 0, "power_mw is not positive after discharging ended"


async def _vehicle_information(bench: Bench) -> None:
    await finish(bench.plug_in())
    await finish(bench.wait(1))
    if bench.backend.battery_information is not None:
        batteries = events_of(bench, hal.BatteryReported)
        assert batteries, "no BatteryReported after plugging in"
        percent = batteries[-1].state_of_charge_percent
        assert percent is None or 0 <= percent <= 100, f"state_of_charge_percent is {percent}"
    if bench.backend.vehicle_identification is not None:
        vehicles = events_of(bench, hal.VehicleIdentified)
        assert vehicles, "no VehicleIdentified after plugging in"
        name = vehicles[-1].vehicle_id
        assert name is None or len(name) <= 32, f"vehicle_id {name!r} exceeds 32 characters"


CHECKS: Final[Mapping[str, _Check]] = {
    "capabilities have their methods": _members,
    "ratings are plausible": _ratings,
    "start reports pilot and contactor": _start,
    "stop opens and may be repeated": _stop,
    "each change of the pilot is reported once": _pilot_changes,
    "state F lasts": _state_f,
    "the contactor closes and reports": _closes,
    "the contactor opens and reports": _opens,
    "the contactor opens by itself without demand": _opens_without_demand,
    "the contactor opens by itself when unplugged": _opens_when_unplugged,
    "the contactor opens in state F": _opens_in_state_f,
    "the contactor never closes by itself": _stays_open_without_order,
    "the contactor stays open without a ready vehicle": _stays_open_in_state_b,
    "an open contactor may be opened": _opens_twice,
    "the cable is reported": _cable,
    "the meter counts": _meter,
    "the grid meter includes the vehicle": _grid_meter,
    "cards are reported": _rfid_reader,
    "locking may be repeated": _lock,
    "the residual current device may be reset": _residual_current_device,
    "the temperature is plausible": _temperature,
    "the self-test ends": _self_test,
    "the vehicle discharges": _discharge,
    "battery and vehicle are reported": _vehicle_information,
}
"""All checks by name."""
