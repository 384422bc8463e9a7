"""The link to a Modbus EVSE controller: what it reads, what it writes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.bus_meter import MeterOnBus
from evse_node.hal.external.link import ControllerOrders
from evse_node.hal.external.modbus_evse import ModbusEvse, ModbusEvseLink
from evse_node.hal.external.register_file import load_controller
from evse_node.hal.external.registers import Address, Fallback, Place, Scale, Table
from evse_node.hal.gpio.board import ModbusSpec
from evse_node.hal.gpio.modbus_meter import load_map
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.modbus_evse_models import Controller, Meter, Phoenix, SimpleEvse, SmartEvse
from tests.modbus_evse_peer import Peer, hardly

NAMES = {SimpleEvse: "simpleevse", Phoenix: "phoenix-em-cp-pp-eth", SmartEvse: "smartevse"}
REST = ControllerOrders()
OPEN = ControllerOrders(must_open=True)
UNAVAILABLE = ControllerOrders(is_unavailable=True)


def supply(current_ma: int = 16_000) -> ControllerOrders:
    return ControllerOrders(is_enabled=True, current_ma=Milliamps(current_ma))


@asynccontextmanager
async def linked(
    controller: Controller, *more: Controller, fallback: Fallback | None = None, **evse: Any
) -> AsyncIterator[tuple[ModbusEvseLink, Peer]]:
    """A controller over TCP, and a link that is open."""
    peer = Peer(controller, *more)
    await peer.serve_tcp()
    chart = load_controller(NAMES[type(controller)])
    chart = replace(chart, pause_s=0, timeout_s=0.3, turnaround_s=0.02)
    if fallback is not None:
        chart = replace(chart, fallback=fallback)
    modbus = ModbusSpec(host="127.0.0.1", tcp_port=int(peer.port), unit=controller.unit)
    link = ModbusEvseLink(
        ModbusEvse(chart=chart, modbus=modbus, **evse),
        sleep=hardly,
        clock=lambda: controller.now,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(peer.close)
        stack.push_async_callback(link.close)
        await link.open(lambda: None)
        yield link, peer


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_a_vehicle_comes_charges_and_goes(make: Callable[[], Controller]) -> None:
    controller = make()
    async with linked(controller) as (link, _):
        await link.apply(OPEN)
        status = await link.read_status()
        assert (status.pilot, status.is_closed, status.is_enabled) == (PilotState.A, False, False)
        assert status.ampacity_ma is None
        controller.turn_to("B")
        await link.apply(supply(13_000))
        status = await link.read_status()
        assert (status.pilot, status.is_closed, status.is_enabled) == (PilotState.B, False, True)
        assert status.offered_ma == 13_000
        assert status.ampacity_ma == 32_000
        controller.turn_to("C")
        status = await link.read_status()
        assert (status.pilot, status.is_closed) == (PilotState.C, True)
        assert controller.current_a == 13
        for stop in (REST, OPEN):
            await link.apply(supply())
            assert controller.is_closed
            await link.apply(stop)
            status = await link.read_status()
            assert (status.is_closed, status.is_enabled) == (False, False)
        assert not status.faults
        assert not status.has_restarted


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix, SmartEvse])
async def test_opening_leaves_alone_what_the_controller_does(
    make: Callable[[], Controller],
) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, _):
        await link.read_status()
        await link.keep_alive()
    assert controller.writes == []


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_nothing_is_written_twice(make: Callable[[], Controller]) -> None:
    controller = make()
    async with linked(controller) as (link, _):
        await link.apply(supply())
        await link.read_status()
        controller.writes.clear()
        await link.apply(supply())
        assert [write for write in controller.writes if write[1] != 1004] == []


@pytest.mark.parametrize(
    ("make", "functions"), [(SimpleEvse, {16}), (Phoenix, {5, 6}), (SmartEvse, {16})]
)
async def test_the_functions_that_it_is_written_by(
    make: Callable[[], Controller], functions: set[int]
) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, peer):
        await link.apply(supply(10_000))
        await link.apply(OPEN)
        assert peer.registers.functions == functions


async def test_opening_is_said_whatever_is_known() -> None:
    phoenix = Phoenix()
    phoenix.turn_to("C")
    async with linked(phoenix) as (link, _):
        await link.apply(OPEN)
        await link.read_status()
        # Somebody else, since the last status.
        phoenix.is_enabled = True
        phoenix.refresh()
        await link.apply(OPEN)
        assert not phoenix.is_closed


async def test_state_f_is_only_told() -> None:
    phoenix = Phoenix()
    phoenix.turn_to("B")
    async with linked(phoenix) as (link, _):
        await link.apply(supply())
        await link.apply(UNAVAILABLE)
        status = await link.read_status()
        assert (status.pilot, status.is_enabled) == (PilotState.F, False)
        await link.apply(REST)
        assert (await link.read_status()).pilot is PilotState.B


@pytest.mark.parametrize("make", [SimpleEvse, Phoenix])
async def test_a_restart_is_noticed(make: Callable[[], Controller]) -> None:
    controller = make()
    controller.turn_to("B")
    async with linked(controller) as (link, _):
        await link.apply(supply(10_000))
        assert not (await link.read_status()).has_restarted
        controller.restart()
        assert (await link.read_status()).has_restarted
        assert not (await link.read_status()).has_restarted
        await link.apply(supply(10_000))
        assert not (await link.read_status()).has_restarted
        assert controller.limit_a == 10


async def test_a_pilot_state_that_means_nothing() -> None:
    phoenix = Phoenix()
    async with linked(phoenix) as (link, _):
        phoenix.vehicle = "X"
        with pytest.raises(HalError, match="tells 88 as its pilot's state"):
            await link.read_status()


async def test_there_is_no_self_test() -> None:
    async with linked(Phoenix()) as (link, _):
        assert link.traits.self_test_s is None
        with pytest.raises(HalError, match="no self-test"):
            await link.self_test()


async def test_closed_means_closed() -> None:
    async with linked(Phoenix()) as (link, _):
        await link.close()
        await link.close()
        with pytest.raises(HalError, match="is not open"):
            await link.read_status()
        await link.open(lambda: None)
        await link.read_status()


async def test_a_controller_that_is_not_there_cannot_be_opened() -> None:
    async with linked(Phoenix()) as (link, peer):
        await peer.hang_up()
        with pytest.raises(HalError, match="cannot be opened"):
            await link.open(lambda: None)


class TestSimpleEvse:
    async def test_hundredths_of_amperes(self) -> None:
        evse = SimpleEvse()
        evse.eeprom[2005] = 0x80
        async with linked(evse) as (link, _):
            assert link.traits.step_ma == 10
            await link.apply(supply(13_370))
            assert evse.configured == 1337
            assert (await link.read_status()).offered_ma == 13_370

    async def test_whole_amperes_are_rounded_down(self) -> None:
        evse = SimpleEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply(13_990))
            assert evse.configured == 13
            # As it was ordered: the register cannot say it finer.
            assert (await link.read_status()).offered_ma == 13_990

    async def test_opening_turns_off_first(self) -> None:
        evse = SimpleEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply())
            evse.writes.clear()
            await link.apply(OPEN)
            assert evse.writes == [("holding", 1004, 1), ("holding", 1000, 0)]

    async def test_failures(self) -> None:
        evse = SimpleEvse()
        evse.turn_to("B")
        async with linked(evse) as (link, _):
            await link.read_status()
            evse.failures = 0x20
            status = await link.read_status()
            assert status.faults == {FaultState.GROUND_FAULT}
            # The vehicle is taken to be where it was.
            assert status.pilot is PilotState.B
            evse.failures = 0
            assert (await link.read_status()).faults == frozenset()

    async def test_memory_that_wears_out_is_written_when_it_differs(self) -> None:
        evse = SimpleEvse(boot_a=32)
        async with linked(evse, fallback_ma=Milliamps(6_000)) as (link, _):
            assert evse.writes == [("holding", 2000, 6)]
            await link.open(lambda: None)
            assert evse.writes == [("holding", 2000, 6)]

    async def test_it_is_said_that_there_is_no_timeout(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        async with linked(SimpleEvse()) as (link, _):
            assert link.traits.heartbeat_s is None
            await link.open(lambda: None)
        told = [record.message for record in caplog.records if "EVSE" in record.message]
        assert told == [
            "SimpleEVSE / EVSE-DIN goes on with its last orders should this node die: "
            "it knows no timeout",
            "SimpleEVSE / EVSE-DIN offers 32000 mA after a restart of its own",
        ]


class TestMeters:
    async def test_the_controllers_own(self) -> None:
        phoenix = Phoenix()
        phoenix.energy_wh = 12_340
        chart = load_controller("phoenix-em-cp-pp-eth").meter
        assert chart is not None
        async with linked(phoenix, meter=MeterOnBus(chart, 180)) as (link, _):
            phoenix.turn_to("C")
            await link.apply(supply())
            values = (await link.read_status()).meter
            assert values is not None
            assert values.imported_mwh == 12_340_000
            assert values.power_mw == 11_040_000
            assert values.voltages_mv == (230_000,) * 3
            assert values.currents_ma == (16_000,) * 3

    async def test_one_on_the_bus_with_fewer_phases(self) -> None:
        evse = SimpleEvse()
        meter = MeterOnBus(load_map("sdm630"), Meter.unit)
        async with linked(evse, Meter(evse), meter=meter, phases=1) as (link, _):
            values = (await link.read_status()).meter
            assert values is not None
            assert values.voltages_mv == (230_000,)

    async def test_one_that_does_not_answer_does_not_hold_up_the_controller(self) -> None:
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

    async def test_one_answer_that_is_lost_does_not_matter(self) -> None:
        evse = SimpleEvse()
        async with linked(evse, meter=MeterOnBus(load_map("sdm630"), 105)) as (link, peer):
            peer.registers.controllers.append(Meter(evse))
            first = (await link.read_status()).meter
            assert first is not None
            peer.registers.controllers.pop()
            for later_s, known in ((1, first), (5, first), (1, None)):
                evse.now += later_s
                assert (await link.read_status()).meter == known

    async def test_it_is_not_read_with_each_status(self) -> None:
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
            # One block with each status: an order does not wait for all of them.
            assert (await link.read_status()).meter == first
            assert peer.faults.requests == asked + 3
            values = (await link.read_status()).meter
            assert values is not None
            assert values.imported_mwh == 1_000_000
            assert peer.faults.requests == asked + 5


class TestSmartEvse:
    async def test_the_node_asks_and_is_answered(self) -> None:
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
            assert status.temperature_millicelsius == 25_000

    async def charging(self, link: ModbusEvseLink, evse: SmartEvse) -> None:
        await link.apply(supply())
        evse.turn_to("B")
        await link.read_status()
        evse.turn_to("C")
        await link.read_status()
        assert evse.is_closed

    async def test_rest_gives_the_vehicle_time_and_open_does_not(self) -> None:
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

    async def test_it_falls_back_by_itself_when_nobody_speaks(self) -> None:
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
            # Reading alone is no sign of a master.
            await link.read_status()
            assert not evse.is_closed
            evse.turn_to("B")
            await link.keep_alive()
            evse.advance(3)
            await link.read_status()
            evse.turn_to("C")
            await link.read_status()
            assert evse.is_closed

    async def test_a_vehicle_that_was_away_for_less_than_a_poll(self) -> None:
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

    async def test_less_than_6_a_is_the_masters_to_clear(self) -> None:
        evse = SmartEvse()
        evse.errors = 1
        async with linked(evse) as (link, _):
            evse.turn_to("B")
            await link.read_status()
            assert evse.state == evse.A
            await link.apply(supply())
            await link.read_status()
            assert evse.state == evse.B

    async def test_its_own_limit_is_told_and_kept(self) -> None:
        evse = SmartEvse()
        evse.maximum_a = 13
        async with linked(evse) as (link, _):
            await link.apply(supply(16_000))
            assert evse.limit_a == 13
            assert (await link.read_status()).limit_ma == 13_000

    async def test_faults(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            evse.errors = 4 | 8 | 16
            assert (await link.read_status()).faults == {
                FaultState.OVER_TEMPERATURE,
                FaultState.METER_FAILURE,
                FaultState.GROUND_FAULT,
            }

    async def test_only_its_own_register_of_the_broadcast_counts(self) -> None:
        evse = SmartEvse()
        async with linked(evse) as (link, _):
            await link.apply(supply(10_000))
            sent = {address: value for _, address, value in evse.writes}
            assert sent == {address: 100 * (address == 0x21) for address in range(0x20, 0x28)}


class Watchful(Phoenix):
    """A controller that can be told after how many seconds to fall back to how much."""

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


NAMES[Watchful] = "phoenix-em-cp-pp-eth"
REGISTERS = Fallback(
    after=Scale(Place(Address(Table.HOLDING, 900))),
    current=Scale(Place(Address(Table.HOLDING, 901))),
)


class TestFallbackRegisters:
    async def test_are_set_once(self) -> None:
        evse = Watchful()
        async with linked(evse, fallback=REGISTERS, fallback_ma=Milliamps(6_000)) as (link, _):
            assert evse.writes == [("holding", 900, 10), ("holding", 901, 6)]
            await link.open(lambda: None)
            assert len(evse.writes) == 2
            assert link.traits.heartbeat_s == pytest.approx(10 / 3)

    async def test_a_heartbeat_is_any_request(self) -> None:
        evse = Watchful()
        async with linked(evse, fallback=REGISTERS) as (link, peer):
            asked = peer.faults.requests
            await link.keep_alive()
            assert peer.faults.requests == asked + 1


Step = Callable[[ModbusEvseLink], Awaitable[object]]


@pytest.mark.parametrize("fault", ["silent", "garbage", "half"])
@pytest.mark.parametrize(
    "step", [ModbusEvseLink.read_status, lambda link: link.apply(OPEN)], ids=["read", "apply"]
)
async def test_whatever_is_wrong_is_a_hal_error(fault: str, step: Step) -> None:
    async with linked(Phoenix()) as (link, peer):
        await link.apply(supply())
        setattr(peer.faults, fault, 1)
        with pytest.raises(HalError):
            await step(link)
        await step(link)
