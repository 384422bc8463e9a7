"""Failures between the node and an OpenEVSE controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.openevse.rapi import Notification
from evse_node.hal.external.openevse.rapi_client import RapiClient
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
)
from evse_node.state_machine.faults import FaultState
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import SLEEPING, C, ModelPort, OpenEvseModel, sealed
from tests.unit.hal.external.openevse.openevse_helpers import OFFER, charge, events_of

LIMIT_S = 0.02


async def lose(bench: OpenEvseBench) -> None:
    """Poll until the controller counts as lost."""
    for _ in range(4):
        bench.now += 2.5
        bench.model.update()
        await bench.backend.poll()


class TestLost:
    async def test_silent_controller_is_lost(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_mute = True
        bench.now += 1
        await bench.backend.poll()
        assert bench.events == []
        await lose(bench)
        assert bench.events == [FaultRaised(FaultState.OTHER)]
        assert bench.backend.meter is not None
        with pytest.raises(HalError, match="no answer"):
            bench.backend.meter.read()
        with pytest.raises(HalError, match="lost"):
            bench.backend.contactor.close()
        with pytest.raises(HalError, match="lost"):
            bench.backend.offer(OFFER)

    async def test_fault_is_cleared_after_open_is_confirmed(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_mute = True
        await lose(bench)
        bench.backend.contactor.open()
        bench.backend.withdraw()
        bench.events.clear()
        bench.model.is_mute = False
        bench.wait(3)
        assert not bench.is_powered()
        assert bench.events == [
            PilotChanged(PilotState.B),
            ContactorReported(False),
            FaultCleared(FaultState.CONTACT_WET_FAILURE),
            FaultCleared(FaultState.OTHER),
        ]
        bench.backend.offer(OFFER)
        bench.backend.contactor.close()
        bench.wait(2)
        assert bench.is_powered()

    async def test_fault_lasts_while_relay_is_stuck(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_mute = True
        await lose(bench)
        bench.events.clear()
        bench.model.is_mute = False
        bench.model.events.clear()
        set_relay = bench.model._set_relay
        bench.model._set_relay = lambda is_closed: None  # type: ignore[method-assign]
        bench.wait(5)
        assert FaultCleared(FaultState.OTHER) not in bench.events
        bench.model._set_relay = set_relay  # type: ignore[method-assign]
        bench.wait(1)
        assert FaultCleared(FaultState.OTHER) in bench.events

    async def test_restart_while_lost_needs_new_order_to_close(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.port.pull_out()
        await lose(bench)
        bench.model.restart()
        bench.wait(1)
        bench.port.is_missing = False
        bench.events.clear()
        bench.wait(1.5)
        assert not bench.is_powered()
        assert bench.model.heartbeat == [20, 6]
        assert FaultCleared(FaultState.OTHER) in bench.events

    async def test_unplugged_adapter_is_lost_until_it_returns(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.port.pull_out()
        await bench.backend.poll()
        assert bench.events == []
        await lose(bench)
        assert bench.events == [FaultRaised(FaultState.OTHER)]
        bench.port.is_missing = False
        bench.wait(2)
        assert events_of(bench, FaultRaised, FaultCleared)[-1] == FaultCleared(FaultState.OTHER)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"",
            lambda data: data[: len(data) // 2],
            lambda data: data.replace(b"^", b"^F"),
            lambda data: bytes(byte ^ 0x01 for byte in data),
            lambda data: b"\xff" * 200,
            lambda data: b"$" * 50,
            lambda data: sealed("OK 1 2 3 4"),
            lambda data: sealed("NK"),
            lambda data: sealed("AT 03 03 16 0140"),
        ],
    )
    async def test_invalid_answers_lose_the_controller(
        self, bench: OpenEvseBench, spoil: Callable[[bytes], bytes]
    ) -> None:
        charge(bench)
        bench.port.spoil = spoil
        await lose(bench)
        assert bench.events == [FaultRaised(FaultState.OTHER)]
        bench.port.spoil = lambda data: data
        bench.wait(3)
        assert events_of(bench, FaultRaised, FaultCleared)[-1] == FaultCleared(FaultState.OTHER)
        assert not bench.is_powered()

    @pytest.mark.parametrize(
        "words",
        [
            "OK",
            "OK x y z w",
            "OK 6 80 1_6 3_2",
            "OK 6 80 -5 32",
            "OK 6 80 16 -5",
            "OK 03 0 03 zz",
            "OK 77 0 77 0000",
        ],
    )
    async def test_invalid_values_lose_the_controller(
        self, bench: OpenEvseBench, monkeypatch: pytest.MonkeyPatch, words: str
    ) -> None:
        charge(bench)
        carry_out = bench.model._carry_out

        def nonsense(name: str, given: list[str]) -> tuple[bool, str | None]:
            return (True, words[3:]) if name[0] == "G" else carry_out(name, given)

        monkeypatch.setattr(bench.model, "_carry_out", nonsense)
        await lose(bench)
        assert bench.events == [FaultRaised(FaultState.OTHER)]


class TestOpeningOverABadLine:
    async def test_order_is_repeated_until_confirmed(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_mute = True
        bench.runs_polls = False
        receive = bench.model.receive
        bench.model.receive = lambda data: b""  # type: ignore[method-assign]
        bench.backend.contactor.open()
        for _ in range(3):
            await bench.backend.poll()
        assert bench.is_powered()
        bench.model.receive, bench.model.is_mute = receive, False  # type: ignore[method-assign]
        await bench.backend.poll()
        assert not bench.is_powered()
        assert events_of(bench, ContactorReported) == [ContactorReported(False)]

    async def test_disable_is_sent_while_answers_are_damaged(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.port.spoil = lambda data: b""
        bench.backend.contactor.open()
        await bench.backend.poll()
        assert not bench.is_powered()
        # With valid answers again, it leaves state F.
        bench.port.spoil = lambda data: data
        bench.wait(0.5)
        assert bench.model.state == SLEEPING
        assert events_of(bench, ContactorReported) == [ContactorReported(False)]

    async def test_disable_is_not_sent_blindly_without_order_to_open(
        self, bench: OpenEvseBench
    ) -> None:
        charge(bench)
        bench.port.spoil = lambda data: b""
        bench.backend.withdraw()
        await bench.backend.poll()
        assert "FD" not in bench.model.log

    async def test_command_is_repeated_after_lost_answer(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.log.clear()
        lost = iter([True])
        bench.port.spoil = lambda data: b"" if next(lost, False) else data
        await bench.backend.poll()
        assert bench.model.log[:2] == ["GS", "GS"]
        assert bench.events == []


class SlowPort:
    """Port that keeps the model's answers until the test delivers them."""

    name = "slow"

    def __init__(self) -> None:
        self.model = OpenEvseModel(lambda: 0.0)
        self.kept: list[bytes] = []
        self.sent: list[bytes] = []

    async def open(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self.on_data, self.on_lost = on_data, on_lost

    def close(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        self.kept.append(self.model.receive(data))


class TestClient:
    @pytest.fixture
    async def port(self) -> SlowPort:
        return SlowPort()

    @pytest.fixture
    async def client(self, port: SlowPort) -> RapiClient:
        self.notifications: list[Notification] = []
        client = RapiClient(port, self.notifications.append, LIMIT_S)
        await client.open()
        return client

    async def test_answer_in_pieces_around_notification(
        self, client: RapiClient, port: SlowPort
    ) -> None:
        asked = asyncio.create_task(client.ask("SC 16 V"))
        await asyncio.sleep(0)
        answer = port.kept.pop()
        port.on_data(answer[:4])
        port.on_data(answer[4:] + sealed("AT 02 02 16 0100"))
        assert (await asked).words == ("16",)
        assert self.notifications == [Notification("AT", ("02", "02", "16", "0100"))]

    async def test_notification_within_answer(self, client: RapiClient, port: SlowPort) -> None:
        asked = asyncio.create_task(client.ask("SC 16 V"))
        await asyncio.sleep(0)
        answer = port.kept.pop()
        port.on_data(answer[:4] + sealed("AT 02 02 16 0100") + answer[4:])
        while not port.kept:
            await asyncio.sleep(0.001)
        # The incomplete answer is lost, and the command repeated.
        port.on_data(port.kept.pop())
        assert (await asked).words == ("16",)
        assert len(self.notifications) == 1

    async def test_late_answer_is_dropped(self, client: RapiClient, port: SlowPort) -> None:
        with pytest.raises(HalError, match="no answer"):
            await client.ask("GP")
        late = port.kept
        port.kept = []
        asked = asyncio.create_task(client.ask("GV"))
        await asyncio.sleep(0)
        for answer in late:
            port.on_data(answer)
        await asyncio.sleep(0)
        assert not asked.done()
        port.on_data(port.kept.pop())
        assert (await asked).words[0] == "8.2.3"

    async def test_damaged_command_is_repeated(self, client: RapiClient, port: SlowPort) -> None:
        asked = asyncio.create_task(client.ask("GV"))
        await asyncio.sleep(0)
        port.kept.clear()
        port.on_data(sealed("NK"))
        await asyncio.sleep(0)
        port.on_data(port.kept.pop())
        assert (await asked).is_ok

    async def test_refusal_raises(self, client: RapiClient, port: SlowPort) -> None:
        asked = asyncio.create_task(client.get("XX", least=0))
        await asyncio.sleep(0)
        port.on_data(port.kept.pop())
        with pytest.raises(HalError, match="XX was refused"):
            await asked

    async def test_error_names_the_damage(self, client: RapiClient, port: SlowPort) -> None:
        asked = asyncio.create_task(client.ask("GV"))
        await asyncio.sleep(0)
        port.on_data(b"$OK^21\r")
        with pytest.raises(HalError, match=r"slow: .*wrong checksum"):
            await asked

    async def test_lost_port_ends_a_waiting_command(
        self, client: RapiClient, port: SlowPort
    ) -> None:
        asked = asyncio.create_task(client.ask("GV"))
        await asyncio.sleep(0)
        port.on_lost("slow: pulled out")
        with pytest.raises(ConnectionError, match="pulled out"):
            await asked

    async def test_answer_during_stall_of_loop_is_used(
        self, client: RapiClient, port: SlowPort
    ) -> None:
        asked = asyncio.create_task(client.ask("GV"))
        await asyncio.sleep(0)
        # Timeout and answer coincide.
        asyncio.get_running_loop().call_later(LIMIT_S, port.on_data, port.kept.pop())
        time.sleep(2 * LIMIT_S)
        assert (await asked).words[0] == "8.2.3"
        assert len(port.sent) == 1

    async def test_sequence_ids_wrap_without_zero(self, client: RapiClient, port: SlowPort) -> None:
        for _ in range(256):
            client.send("GV")
        ids = {frame.partition(b":")[2][:2] for frame in port.sent}
        assert len(ids) == 255
        assert b"00" not in ids


async def test_notification_between_polls_wakes_the_poller(bench: OpenEvseBench) -> None:
    bench.plug_in()
    bench.backend.offer(OFFER)
    bench.wait(1)
    assert bench.backend.next_poll_s() > 0
    bench.model.car = C
    bench.runs_polls = False
    bench.wait(0.3)
    assert bench.backend.next_poll_s() == 0


async def test_reopened_port_drops_incomplete_frame() -> None:
    model = OpenEvseModel(lambda: 0.0)
    port = ModelPort(model)
    client = RapiClient(port, lambda notification: None, LIMIT_S)
    await client.open()
    port.deliver(b"$OK 5")
    client.close()
    await client.open()
    assert (await client.ask("GV")).words[0] == "8.2.3"
