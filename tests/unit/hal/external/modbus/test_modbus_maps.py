"""Behaviour specific to each controller, and fallback registers."""

from __future__ import annotations

import pytest

from evse_node.hal.external.modbus.controller_map import Fallback
from evse_node.hal.external.modbus.link import ModbusEvseLink
from evse_node.hal.external.modbus.registers import Current, Duration
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.support.hal.modbus_evse_models import Phoenix, SimpleEvse, SmartEvse
from tests.unit.hal.external.modbus.linked_controller import NAMES, OPEN, REST, linked, supply


class TestSimpleEvse:
    async def test_current_has_steps_of_10_ma_in_fine_mode(self) -> None:
        evse = SimpleEvse()
        evse.eeprom[2005] = 0x80
        async with linked(evse) as (link, _):
            assert link.traits.step_ma == 10
            await link.apply(supply(13_370))
            assert evse.configured == 1337
            assert (await link.read_status()).offered_ma == 13_370

    async def test_current_is_rounded_down_to_whole_amperes(self) -> None:
        evse = SimpleEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply(13_990))
            assert evse.configured == 13
            # As ordered: the register has no finer steps.
            assert (await link.read_status()).offered_ma == 13_990

    async def test_open_writes_command_before_current(self) -> None:
        evse = SimpleEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply())
            evse.writes.clear()
            await link.apply(OPEN)
            assert evse.writes == [("holding", 1004, 1), ("holding", 1000, 0)]

    async def test_failure_registers_become_faults(self) -> None:
        evse = SimpleEvse()
        evse.turn_to("B")
        async with linked(evse) as (link, _):
            await link.read_status()
            evse.failures = 0x20
            status = await link.read_status()
            assert status.faults == {FaultState.GROUND_FAULT}
            # The state of the vehicle is kept.
            assert status.pilot is PilotState.B
            evse.failures = 0
            assert (await link.read_status()).faults == frozenset()

    async def test_restart_current_is_written_once(self) -> None:
        evse = SimpleEvse(boot_a=32)
        async with linked(evse, fallback_ma=Milliamps(6_000)) as (link, _):
            assert evse.writes == [("holding", 2000, 6)]
            await link.open(lambda: None)
            assert evse.writes == [("holding", 2000, 6)]

    async def test_missing_communication_timeout_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        async with linked(SimpleEvse()) as (link, _):
            assert link.traits.heartbeat_s is None
            await link.open(lambda: None)
        messages = [record.message for record in caplog.records if "EVSE" in record.message]
        assert messages == [
            "SimpleEVSE / EVSE-DIN has no communication timeout: it continues with its last orders "
            "without this node; offers 32 A after its own restart",
        ]


class TestSmartEvse:
    async def test_requests_of_controller_are_answered(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await link.apply(REST)
            evse.turn_to("B")
            assert evse.state == evse.COMM_B
            assert (await link.read_status()).pilot is PilotState.B
            assert evse.state == evse.COMM_B
            await link.apply(supply())
            assert (evse.state, evse.limit_a) == (evse.B, 16)
            evse.turn_to("C")
            assert evse.state == evse.COMM_C
            status = await link.read_status()
            assert (status.pilot, status.is_closed) == (PilotState.C, False)
            status = await link.read_status()
            assert (status.pilot, status.is_closed) == (PilotState.C, True)

    async def charging(self, link: ModbusEvseLink, evse: SmartEvse) -> None:
        await link.apply(supply())
        evse.turn_to("B")
        await link.read_status()
        evse.turn_to("C")
        await link.read_status()
        assert evse.is_closed

    async def test_rest_waits_for_vehicle_and_open_does_not(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await self.charging(link, evse)
            await link.apply(REST)
            assert (evse.state, evse.is_closed) == (evse.C1, True)
            evse.advance(6)
            await link.keep_alive()
            assert not evse.is_closed
            evse.turn_to("A")
            await self.charging(link, evse)
            await link.apply(OPEN)
            assert not evse.is_closed
            await link.read_status()
            assert not evse.is_closed

    async def test_controller_opens_without_heartbeats(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await self.charging(link, evse)
            assert link.traits.heartbeat_s == 2
            for _ in range(20):
                evse.advance(2)
                await link.keep_alive()
            assert evse.is_closed
            for _ in range(20):
                evse.advance(1)
            assert not evse.is_closed
            assert evse.errors == 2
            # Reading alone does not count as a master.
            await link.read_status()
            assert not evse.is_closed
            evse.turn_to("B")
            await link.keep_alive()
            evse.advance(3)
            await link.read_status()
            evse.turn_to("C")
            await link.read_status()
            assert evse.is_closed

    async def test_demand_that_pauses_between_polls_shows_state_b(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await self.charging(link, evse)
            assert (await link.read_status()).is_closed
            evse.turn_to("B")
            evse.turn_to("C")
            assert not evse.is_closed
            status = await link.read_status()
            assert (status.pilot, status.is_closed) == (PilotState.B, False)
            status = await link.read_status()
            assert (status.pilot, status.is_closed) == (PilotState.C, True)

    async def test_error_of_less_than_6_a_is_cleared(self) -> None:
        evse = SmartEvse()
        evse.errors = 1
        async with linked(evse) as (link, _):
            evse.turn_to("B")
            await link.read_status()
            assert evse.state == evse.A
            await link.apply(supply())
            await link.read_status()
            assert evse.state == evse.B

    async def test_own_limit_is_reported_and_kept(self) -> None:
        evse = SmartEvse()
        evse.maximum_a = 13
        async with linked(evse) as (link, _):
            await link.apply(supply(16_000))
            assert evse.limit_a == 13
            assert (await link.read_status()).limit_ma == 13_000
            # Less than 6 A differs from no limit.
            evse.maximum_a = 5
            assert (await link.read_status()).limit_ma == 5_000
            evse.maximum_a = 80
            assert (await link.read_status()).limit_ma is None

    async def test_error_bits_become_faults(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            evse.errors = 4 | 8 | 16
            assert (await link.read_status()).faults == {
                FaultState.OVER_TEMPERATURE,
                FaultState.METER_FAILURE,
                FaultState.GROUND_FAULT,
            }

    async def test_broadcast_sets_register_of_own_unit_only(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply(10_000))
            sent = {address: value for _, address, value in evse.writes}
            assert sent == {address: 100 * (address == 0x21) for address in range(0x20, 0x28)}


class ConfigurablePhoenix(Phoenix):
    """A controller with registers for the fallback's time and current."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = {900: 600, 901: 0}

    def read(self, table: str, address: int) -> int | None:
        return self.extra.get(address, super().read(table, address))

    def write(self, table: str, address: int, value: int) -> bool:
        if address not in self.extra:
            return super().write(table, address, value)
        self.writes.append((table, address, value))
        self.extra[address] = value
        return True


NAMES[ConfigurablePhoenix] = "phoenix-em-cp-pp-eth"


REGISTERS = Fallback(after=Duration(holding=900), current=Current(holding=901))


class TestFallbackRegisters:
    async def test_are_written_once(self) -> None:
        evse = ConfigurablePhoenix()
        async with linked(evse, fallback=REGISTERS, fallback_ma=Milliamps(6_000)) as (link, _):
            assert evse.writes == [("holding", 900, 10), ("holding", 901, 6)]
            await link.open(lambda: None)
            assert len(evse.writes) == 2
            assert link.traits.heartbeat_s == pytest.approx(10 / 3)

    async def test_heartbeat_is_any_request(self) -> None:
        evse = ConfigurablePhoenix()
        async with linked(evse, fallback=REGISTERS) as (link, peer):
            asked = peer.faults.requests
            await link.keep_alive()
            assert peer.faults.requests == asked + 1
