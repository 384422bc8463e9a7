"""What every backend owes, whatever hardware is under it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from evse_node.errors import HalError
from evse_node.hal import interface as hal
from evse_node.state_machine.control_pilot import PilotState
from evse_node.units import Milliamps
from tests.contract.backends import BENCHES, Bench

OFFER = Milliamps(16_000)
PROTOCOLS = {
    "control_pilot": hal.ControlPilot,
    "contactor": hal.Contactor,
    "proximity_pilot": hal.ProximityPilot,
    "lock": hal.CableLock,
    "meter": hal.Meter,
    "rfid_reader": hal.RfidReader,
    "residual_current_device": hal.ResidualCurrentDevice,
    "temperature_sensor": hal.TemperatureSensor,
    "self_test": hal.SelfTest,
    "discharger": hal.Discharger,
    "battery_information": hal.BatteryInformation,
    "vehicle_identification": hal.VehicleIdentification,
}
_Event = TypeVar("_Event")


@pytest.fixture(params=sorted(BENCHES))
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = BENCHES[request.param]()
    await made.start()
    yield made
    await made.stop()


def told(bench: Bench, kind: type[_Event]) -> list[_Event]:
    return [event for event in bench.events if isinstance(event, kind)]


def charge(bench: Bench) -> None:
    bench.plug_in()
    bench.demand()
    bench.backend.control_pilot.offer(OFFER)
    bench.backend.contactor.close()
    bench.wait(0.5)
    assert bench.is_powered()
    bench.events.clear()


@pytest.mark.parametrize("member", PROTOCOLS)
async def test_members_have_their_methods(bench: Bench, member: str) -> None:
    capability = getattr(bench.backend, member)
    if member in ("control_pilot", "contactor"):
        assert capability is not None
    if capability is not None:
        assert isinstance(capability, PROTOCOLS[member])


async def test_ratings_make_sense(bench: Bench) -> None:
    ratings = bench.backend.ratings
    assert 6_000 <= ratings.maximum_current_ma <= 80_000
    assert ratings.phases in (1, 2, 3)
    assert 100_000 <= ratings.nominal_voltage_mv <= 500_000


class TestStart:
    async def test_tells_pilot_and_contactor(self, bench: Bench) -> None:
        assert told(bench, hal.PilotReported) == [hal.PilotReported(PilotState.A)]
        assert told(bench, hal.ContactorFeedback) == [hal.ContactorFeedback(False)]

    async def test_the_contactor_is_open(self, bench: Bench) -> None:
        assert not bench.is_powered()

    async def test_stop_opens_and_may_be_repeated(self, bench: Bench) -> None:
        charge(bench)
        await bench.stop()
        assert not bench.is_powered()
        await bench.stop()


class TestControlPilot:
    async def test_tells_each_change_once(self, bench: Bench) -> None:
        bench.events.clear()
        bench.plug_in()
        bench.demand()
        bench.demand()
        bench.no_demand()
        bench.unplug()
        bench.wait(1)
        states = [event.pilot for event in told(bench, hal.PilotReported)]
        assert states == [PilotState.B, PilotState.C, PilotState.B, PilotState.A]

    async def test_state_f_lasts(self, bench: Bench) -> None:
        bench.plug_in()
        bench.backend.control_pilot.signal_unavailable()
        bench.wait(60)
        assert told(bench, hal.PilotReported)[-1].pilot is PilotState.F
        bench.backend.control_pilot.withdraw()
        bench.wait(1)
        assert told(bench, hal.PilotReported)[-1].pilot is PilotState.B


class TestContactor:
    async def test_closes_and_tells(self, bench: Bench) -> None:
        bench.plug_in()
        bench.demand()
        bench.backend.control_pilot.offer(OFFER)
        bench.events.clear()
        bench.backend.contactor.close()
        bench.wait(0.5)
        assert bench.is_powered()
        assert told(bench, hal.ContactorFeedback) == [hal.ContactorFeedback(True)]

    async def test_opens_and_tells(self, bench: Bench) -> None:
        charge(bench)
        bench.backend.contactor.open()
        bench.wait(0.5)
        assert not bench.is_powered()
        assert told(bench, hal.ContactorFeedback) == [hal.ContactorFeedback(False)]

    @pytest.mark.parametrize("loss", ["no_demand", "unplug"])
    async def test_opens_by_itself_within_100_ms(self, bench: Bench, loss: str) -> None:
        charge(bench)
        getattr(bench, loss)()
        bench.wait(0.1)
        assert not bench.is_powered()
        bench.wait(0.5)
        assert told(bench, hal.ContactorFeedback) == [hal.ContactorFeedback(False)]

    async def test_opens_by_itself_in_state_f(self, bench: Bench) -> None:
        charge(bench)
        bench.backend.control_pilot.signal_unavailable()
        bench.wait(0.1)
        assert not bench.is_powered()

    async def test_never_closes_by_itself(self, bench: Bench) -> None:
        charge(bench)
        bench.no_demand()
        bench.wait(1)
        bench.demand()
        bench.wait(60)
        assert not bench.is_powered()

    async def test_does_not_close_without_a_ready_vehicle(self, bench: Bench) -> None:
        bench.plug_in()
        with contextlib.suppress(HalError):
            bench.backend.contactor.close()
        bench.wait(1)
        assert not bench.is_powered()

    async def test_opening_an_open_one_is_harmless(self, bench: Bench) -> None:
        bench.backend.contactor.open()
        bench.backend.contactor.open()
        bench.wait(1)
        assert not bench.is_powered()


async def test_proximity_pilot(bench: Bench) -> None:
    proximity = bench.backend.proximity_pilot
    if proximity is None:
        return
    assert proximity.ampacity_ma() is None
    bench.plug_in()
    assert proximity.ampacity_ma() == 32_000
    kinds = [type(event) for event in bench.events]
    assert kinds.index(hal.CableReported) < len(kinds) - kinds[::-1].index(hal.PilotReported) - 1
    bench.unplug()
    bench.wait(1)
    assert [event.ampacity_ma for event in told(bench, hal.CableReported)] == [32_000, None]


async def test_meter(bench: Bench) -> None:
    meter = bench.backend.meter
    if meter is None:
        return
    charge(bench)
    before = meter.read()
    bench.wait(60)
    after = meter.read()
    assert after.imported_mwh > before.imported_mwh
    assert after.exported_mwh == before.exported_mwh
    assert after.power_mw > 0
    assert len(after.voltages_mv) == len(after.currents_ma) == bench.backend.ratings.phases
    bench.unplug()
    bench.wait(1)
    assert meter.read().power_mw == 0


async def test_rfid_reader(bench: Bench) -> None:
    if bench.backend.rfid_reader is None:
        return
    bench.tap(b"\x01\x02\x03\x04")
    assert told(bench, hal.CardPresented) == [hal.CardPresented(b"\x01\x02\x03\x04")]
    bench.backend.rfid_reader.acknowledge()


async def test_lock_may_be_repeated(bench: Bench) -> None:
    lock = bench.backend.lock
    if lock is None:
        return
    bench.plug_in()
    for order in (lock.lock, lock.lock, lock.unlock, lock.unlock):
        order()


async def test_residual_current_device_may_be_reset_at_any_time(bench: Bench) -> None:
    if bench.backend.residual_current_device is not None:
        bench.backend.residual_current_device.reset()
        assert not bench.is_powered()


async def test_temperature(bench: Bench) -> None:
    sensor = bench.backend.temperature_sensor
    if sensor is not None:
        assert -60_000 < sensor.read_millicelsius() < 150_000


async def test_self_test_ends(bench: Bench) -> None:
    if bench.backend.self_test is None:
        return
    bench.backend.self_test.start_self_test()
    bench.wait(60)
    assert told(bench, hal.SelfTestCompleted) == [hal.SelfTestCompleted()]
    assert not bench.is_powered()


async def test_discharge(bench: Bench) -> None:
    discharger, meter = bench.backend.discharger, bench.backend.meter
    if discharger is None or meter is None:
        return
    charge(bench)
    discharger.set_discharge(Milliamps(10_000))
    bench.wait(60)
    assert meter.read().power_mw < 0
    discharger.set_discharge(None)
    bench.wait(1)
    assert meter.read().power_mw > 0


async def test_vehicle_information(bench: Bench) -> None:
    battery = bench.backend.battery_information
    identification = bench.backend.vehicle_identification
    bench.plug_in()
    bench.wait(1)
    if battery is not None:
        assert told(bench, hal.BatteryRead)[-1] == battery.battery()
        percent = battery.battery().state_of_charge_percent
        assert percent is None or 0 <= percent <= 100
    if identification is not None:
        name = identification.vehicle_id()
        assert name is None or len(name) <= 32
        assert told(bench, hal.VehicleIdRead)[-1].vehicle_id == name
