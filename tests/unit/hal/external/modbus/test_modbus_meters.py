"""The meter on a Modbus controller's bus, or within the controller."""

from __future__ import annotations

from typing import Any

from evse_node.hal.external.modbus.controller_map import load_controller
from evse_node.hal.modbus.bus_meter import MeterOnBus
from evse_node.hal.modbus.meter import load_map
from evse_node.state_machine.control_pilot import PilotState
from tests.support.hal.modbus_evse_models import Meter, Phoenix, SimpleEvse
from tests.unit.hal.external.modbus.linked_controller import linked, supply


class TestMeters:
    async def test_meter_of_controller_is_read(self) -> None:
        phoenix = Phoenix()
        phoenix.energy_wh = 12_340
        registers = load_controller("phoenix-em-cp-pp-eth").meter
        assert registers is not None
        async with linked(phoenix, meter=MeterOnBus(registers, 180)) as (link, _):
            phoenix.turn_to("C")
            await link.apply(supply())
            values = (await link.read_status()).meter
            assert values is not None
            assert values.imported_mwh == 12_340_000
            assert values.power_mw == 11_040_000
            assert values.voltages_mv == (230_000,) * 3
            assert values.currents_ma == (16_000,) * 3

    async def test_meter_on_bus_with_fewer_phases_is_read(self) -> None:
        evse = SimpleEvse()
        meter = MeterOnBus(load_map("sdm630"), Meter.unit)
        async with linked(evse, Meter(evse), meter=meter, phases=1) as (link, _):
            values = (await link.read_status()).meter
            assert values is not None
            assert values.voltages_mv == (230_000,)

    async def test_silent_meter_does_not_delay_controller(self) -> None:
        evse = SimpleEvse()
        async with linked(evse, meter=MeterOnBus(load_map("sdm630"), 105)) as (link, peer):
            status = await link.read_status()
            assert (status.pilot, status.meter) == (PilotState.A, None)
            asked = peer.faults.requests
            assert (await link.read_status()).meter is None
            assert peer.faults.requests == asked + 1
            peer.registers.controllers.append(Meter(evse))
            evse.now += 2
            assert (await link.read_status()).meter is not None

    async def test_retry_counts_from_end_of_failed_read(self) -> None:
        evse = SimpleEvse()
        async with linked(evse, meter=MeterOnBus(load_map("sdm630"), 105)) as (link, peer):
            assert link._bus is not None
            client: Any = link._bus._client
            execute = client.execute

            async def slow(is_broadcast: bool, request: Any) -> Any:
                if request.dev_id == 105:
                    evse.now += 2
                return await execute(is_broadcast, request)

            client.execute = slow
            await link.read_status()
            asked = peer.faults.requests
            await link.read_status()
            assert peer.faults.requests == asked + 1

    async def test_values_stay_valid_for_limit_s(self) -> None:
        evse = SimpleEvse()
        async with linked(evse, meter=MeterOnBus(load_map("sdm630"), 105)) as (link, peer):
            peer.registers.controllers.append(Meter(evse))
            first = (await link.read_status()).meter
            assert first is not None
            peer.registers.controllers.pop()
            for later_s, known in ((1, first), (5, first), (1, None)):
                evse.now += later_s
                assert (await link.read_status()).meter == known

    async def test_meter_is_read_at_its_own_interval(self) -> None:
        evse = SimpleEvse()
        meter = MeterOnBus(load_map("sdm630"), Meter.unit)
        async with linked(evse, Meter(evse), meter=meter) as (link, peer):
            first = (await link.read_status()).meter
            asked = peer.faults.requests
            evse.now += 0.5
            assert (await link.read_status()).meter == first
            assert peer.faults.requests == asked + 1
            evse.now += 0.5
            evse.energy_wh = 1000.0
            # One block per status: orders do not wait for all blocks.
            assert (await link.read_status()).meter == first
            assert peer.faults.requests == asked + 3
            values = (await link.read_status()).meter
            assert values is not None
            assert values.imported_mwh == 1_000_000
            assert peer.faults.requests == asked + 5
