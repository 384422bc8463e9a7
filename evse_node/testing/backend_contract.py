"""What every backend owes, as checks that run on any backend: simulated, built in, or yours.

A check plays a vehicle on a `Bench`, the backend with hands around it, and looks what the
backend tells and what the socket does. With pytest:

    @pytest.mark.parametrize("check", CHECKS)
    async def test_contract(check: str) -> None:
        await run_check(check, MyBench())

A check that finds the contract broken raises AssertionError and says what was wrong. What a
backend does not have (None in `EvseBackend`) is not asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeAlias, TypeVar

from evse_node.errors import HalError
from evse_node.hal import interface as hal
from evse_node.state_machine.control_pilot import PilotState
from evse_node.units import Milliamps

_OFFER: Final = Milliamps(16_000)
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
_Event = TypeVar("_Event")


Done: TypeAlias = Awaitable[None] | None
"""What a hand of a bench returns: None when it is done, or what to wait for until it is."""


class Bench(Protocol):
    """A backend on the bench: hands to play the vehicle, and a way to let time pass.

    Each hand is done when it returns, and what follows from it was told; or it is a coroutine
    function, for a backend with tasks of its own in the same event loop.
    """

    backend: hal.EvseBackend
    events: list[hal.HalEvent]

    async def start(self) -> None:
        """Start the backend; its events go to `events`."""

    async def stop(self) -> None:
        """Stop the backend."""

    def plug_in(self) -> Done:
        """Bring the pilot to state B, with a cable of 32 A."""

    def demand(self) -> Done:
        """Bring the pilot to state C."""

    def no_demand(self) -> Done:
        """Bring the pilot back to state B."""

    def unplug(self) -> Done:
        """Bring the pilot to state A."""

    def wait(self, seconds: float) -> Done:
        """Let time pass."""

    def is_powered(self) -> bool:
        """Look at the socket itself, past what the backend says."""

    def tap(self, uid: bytes) -> Done:
        """Hold a card to the reader. Not called without a reader."""


_Body: TypeAlias = Callable[[Bench], Awaitable[None]]


async def run_check(check: str, bench: Bench) -> None:
    """Start a bench, run one of `CHECKS` on it, stop it. Raises AssertionError."""
    await bench.start()
    try:
        await CHECKS[check](bench)
    finally:
        await bench.stop()


def _told(bench: Bench, kind: type[_Event]) -> list[_Event]:
    return [event for event in bench.events if isinstance(event, kind)]


def _expect(found: object, right: object, what: str) -> None:
    assert found == right, f"{what}: {found!r}, not {right!r}"


async def _do(done: Done) -> None:
    if done is not None:
        await done


async def _charge(bench: Bench) -> None:
    await _do(bench.plug_in())
    await _do(bench.demand())
    bench.backend.control_pilot.offer(_OFFER)
    bench.backend.contactor.close()
    await _do(bench.wait(bench.backend.ratings.contactor_timeout_s))
    assert bench.is_powered(), "ordered to close with a ready vehicle, it stays open"
    bench.events.clear()


# What it is


async def _members(bench: Bench) -> None:
    for member, protocol in _PROTOCOLS.items():
        capability: object = getattr(bench.backend, member)
        if member in ("control_pilot", "contactor"):
            assert capability is not None, f"{member} is a must"
        if capability is not None:
            assert isinstance(capability, protocol), f"{member} is no {protocol.__name__}"
            for name in vars(protocol):
                if not name.startswith("_"):
                    method: object = getattr(capability, name)
                    assert callable(method), f"{member}.{name} is {method!r}, which is no method"


async def _ratings(bench: Bench) -> None:
    ratings = bench.backend.ratings
    assert 6_000 <= ratings.maximum_current_ma <= 80_000, ratings
    assert ratings.phases in (1, 2, 3), ratings
    assert 100_000 <= ratings.nominal_voltage_mv <= 500_000, ratings


# Start and stop


async def _start(bench: Bench) -> None:
    pilots, feedback = _told(bench, hal.PilotChanged), _told(bench, hal.ContactorReported)
    _expect(pilots, [hal.PilotChanged(PilotState.A)], "told of the pilot at start")
    _expect(feedback, [hal.ContactorReported(False)], "told of the contactor at start")
    assert not bench.is_powered(), "the contactor is closed at start"


async def _stop(bench: Bench) -> None:
    await _charge(bench)
    await bench.stop()
    assert not bench.is_powered(), "stop leaves the contactor closed"
    await bench.stop()


# Pilot


async def _pilot_changes(bench: Bench) -> None:
    bench.events.clear()
    await _do(bench.plug_in())
    # A controller of its own knows of demand only where there is an offer, and closes then.
    bench.backend.control_pilot.offer(_OFFER)
    for _ in range(2):
        with contextlib.suppress(HalError):
            bench.backend.contactor.close()
        await _do(bench.demand())
    await _do(bench.no_demand())
    await _do(bench.unplug())
    await _do(bench.wait(1))
    states = [event.pilot for event in _told(bench, hal.PilotChanged)]
    _expect(states, [PilotState.B, PilotState.C, PilotState.B, PilotState.A], "pilot's changes")


async def _state_f(bench: Bench) -> None:
    await _do(bench.plug_in())
    bench.backend.control_pilot.signal_unavailable()
    await _do(bench.wait(60))
    _expect(_told(bench, hal.PilotChanged)[-1].pilot, PilotState.F, "a minute after the order")
    bench.backend.control_pilot.withdraw()
    await _do(bench.wait(1))
    _expect(_told(bench, hal.PilotChanged)[-1].pilot, PilotState.B, "after X1 was ordered")


# Contactor


async def _closes(bench: Bench) -> None:
    await _do(bench.plug_in())
    await _do(bench.demand())
    bench.backend.control_pilot.offer(_OFFER)
    bench.events.clear()
    bench.backend.contactor.close()
    await _do(bench.wait(bench.backend.ratings.contactor_timeout_s))
    assert bench.is_powered(), "ordered to close with a ready vehicle, it stays open"
    feedback = _told(bench, hal.ContactorReported)
    _expect(feedback, [hal.ContactorReported(True)], "told after closing")


async def _opens(bench: Bench) -> None:
    await _charge(bench)
    bench.backend.contactor.open()
    await _do(bench.wait(bench.backend.ratings.contactor_timeout_s))
    assert not bench.is_powered(), "ordered to open, it stays closed"
    feedback = _told(bench, hal.ContactorReported)
    _expect(feedback, [hal.ContactorReported(False)], "told after opening")


async def _open_by_itself(bench: Bench, lose: Callable[[], Done]) -> None:
    await _charge(bench)
    await _do(lose())
    await _do(bench.wait(bench.backend.ratings.opening_s))
    assert not bench.is_powered(), "still closed in time after the vehicle was ready no more"
    await _do(bench.wait(bench.backend.ratings.contactor_timeout_s))
    feedback = _told(bench, hal.ContactorReported)
    _expect(feedback, [hal.ContactorReported(False)], "told after opening by itself")


async def _opens_without_demand(bench: Bench) -> None:
    await _open_by_itself(bench, bench.no_demand)


async def _opens_when_unplugged(bench: Bench) -> None:
    await _open_by_itself(bench, bench.unplug)


async def _opens_in_state_f(bench: Bench) -> None:
    await _charge(bench)
    bench.backend.control_pilot.signal_unavailable()
    await _do(bench.wait(0.1))
    assert not bench.is_powered(), "still closed 100 ms after state F was ordered"


async def _never_closes_by_itself(bench: Bench) -> None:
    await _charge(bench)
    await _do(bench.no_demand())
    await _do(bench.wait(1))
    await _do(bench.demand())
    await _do(bench.wait(60))
    assert not bench.is_powered(), "closed without an order when the vehicle came back"


async def _needs_a_ready_vehicle(bench: Bench) -> None:
    await _do(bench.plug_in())
    with contextlib.suppress(HalError):
        bench.backend.contactor.close()
    await _do(bench.wait(1))
    assert not bench.is_powered(), "closed in state B"


async def _opening_twice(bench: Bench) -> None:
    bench.backend.contactor.open()
    bench.backend.contactor.open()
    await _do(bench.wait(1))
    assert not bench.is_powered(), "closed by an order to open"


# The other capabilities


async def _proximity_pilot(bench: Bench) -> None:
    proximity = bench.backend.proximity_pilot
    if proximity is None:
        return
    _expect(proximity.ampacity_ma(), None, "without a cable")
    await _do(bench.plug_in())
    _expect(proximity.ampacity_ma(), 32_000, "with a cable of 32 A")
    kinds = [type(event) for event in bench.events]
    newest_pilot = len(kinds) - kinds[::-1].index(hal.PilotChanged) - 1
    assert kinds.index(hal.CableChanged) < newest_pilot, "the cable is to be told before B"
    await _do(bench.unplug())
    await _do(bench.wait(1))
    told = [event.ampacity_ma for event in _told(bench, hal.CableChanged)]
    _expect(told, [32_000, None], "cables told")


async def _meter(bench: Bench) -> None:
    meter = bench.backend.meter
    if meter is None:
        return
    await _charge(bench)
    before = meter.read()
    await _do(bench.wait(60))
    after = meter.read()
    assert after.imported_mwh > before.imported_mwh, "a minute of charging is not counted"
    _expect(after.exported_mwh, before.exported_mwh, "exported")
    assert after.power_mw > 0, f"power {after.power_mw} mW while charging"
    phases = bench.backend.ratings.phases
    counts = (len(after.voltages_mv), len(after.currents_ma))
    _expect(counts, (phases, phases), "phases of the meter")
    await _do(bench.unplug())
    await _do(bench.wait(1))
    _expect(meter.read().power_mw, 0, "power without a vehicle")


async def _grid_meter(bench: Bench) -> None:
    meter, own = bench.backend.grid_meter, bench.backend.meter
    if meter is None or own is None:
        return
    before_mw = meter.read_grid_power_mw()
    await _charge(bench)
    await _do(bench.wait(10))
    more_mw, own_mw = meter.read_grid_power_mw() - before_mw, own.read().power_mw
    assert 2 * more_mw > own_mw, f"{more_mw} mW more with {own_mw} mW of charging"


async def _rfid_reader(bench: Bench) -> None:
    if bench.backend.rfid_reader is None:
        return
    await _do(bench.tap(b"\x01\x02\x03\x04"))
    cards = _told(bench, hal.RfidTapped)
    _expect(cards, [hal.RfidTapped(b"\x01\x02\x03\x04")], "cards told")
    bench.backend.rfid_reader.acknowledge()


async def _lock(bench: Bench) -> None:
    lock = bench.backend.lock
    if lock is None:
        return
    await _do(bench.plug_in())
    for order in (lock.lock, lock.lock, lock.unlock, lock.unlock):
        order()


async def _residual_current_device(bench: Bench) -> None:
    if bench.backend.residual_current_device is not None:
        bench.backend.residual_current_device.reset()
        assert not bench.is_powered(), "a reset closes the contactor"


async def _temperature(bench: Bench) -> None:
    sensor = bench.backend.temperature_sensor
    if sensor is not None:
        await _do(bench.wait(2))
        temperature_mc = sensor.read_millicelsius()
        assert -60_000 < temperature_mc < 150_000, f"{temperature_mc} millidegrees"


async def _self_test(bench: Bench) -> None:
    if bench.backend.self_test is None:
        return
    bench.backend.self_test.start_self_test()
    await _do(bench.wait(60))
    _expect(_told(bench, hal.SelfTestCompleted), [hal.SelfTestCompleted()], "a minute later")
    assert not bench.is_powered(), "the self-test closes the contactor"


async def _discharge(bench: Bench) -> None:
    discharger, meter = bench.backend.discharger, bench.backend.meter
    if discharger is None or meter is None:
        return
    await _charge(bench)
    discharger.set_discharge(Milliamps(10_000))
    await _do(bench.wait(60))
    assert meter.read().power_mw < 0, "no power comes back"
    discharger.set_discharge(None)
    await _do(bench.wait(1))
    assert meter.read().power_mw > 0, "after discharging it does not charge"


async def _vehicle_information(bench: Bench) -> None:
    battery = bench.backend.battery_information
    identification = bench.backend.vehicle_identification
    await _do(bench.plug_in())
    await _do(bench.wait(1))
    if battery is not None:
        _expect(_told(bench, hal.BatteryReported)[-1], battery.battery(), "battery told and known")
        percent = battery.battery().state_of_charge_percent
        assert percent is None or 0 <= percent <= 100, f"{percent} %"
    if identification is not None:
        name = identification.vehicle_id()
        assert name is None or len(name) <= 32, f"{name!r} is longer than 32"
        _expect(_told(bench, hal.VehicleIdentified)[-1].vehicle_id, name, "vehicle told and known")


CHECKS: Final[Mapping[str, _Body]] = {
    "members have their methods": _members,
    "ratings make sense": _ratings,
    "start tells pilot and contactor": _start,
    "stop opens and may be repeated": _stop,
    "each change of the pilot is told once": _pilot_changes,
    "state F lasts": _state_f,
    "the contactor closes and tells": _closes,
    "the contactor opens and tells": _opens,
    "opens by itself without demand": _opens_without_demand,
    "opens by itself when unplugged": _opens_when_unplugged,
    "opens by itself in state F": _opens_in_state_f,
    "never closes by itself": _never_closes_by_itself,
    "does not close without a ready vehicle": _needs_a_ready_vehicle,
    "opening an open contactor is harmless": _opening_twice,
    "the cable is known and told": _proximity_pilot,
    "the meter counts": _meter,
    "the house's meter has what the vehicle takes": _grid_meter,
    "cards are told": _rfid_reader,
    "locking may be repeated": _lock,
    "the residual current device may be reset": _residual_current_device,
    "the temperature makes sense": _temperature,
    "the self-test ends": _self_test,
    "discharging": _discharge,
    "battery and vehicle are told": _vehicle_information,
}
"""All checks by name."""
