"""Tests inside the virtual machine: a node on the GPIO backend, from commissioning to charging."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from evse_node.config.node_config import NodeConfig
from evse_node.hal.gpio.backend import GpioBackend
from evse_node.matter.tlv import SignedInt, TlvValue
from evse_node.node.evse_node import EvseNode
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.enums import State
from evse_node.state_machine.faults import FaultState
from tests.conversation.test_real_nodes import EVSE, UdpCommissioner
from tests.hw.gpio_sim import SimulatedChip
from tests.hw.guest_board import (
    CONTACTOR,
    PWM,
    STOP,
    GuestElectronics,
    add_measured,
    guest_board,
    make_chip,
)
from tests.support.matter.udp_network import UdpNetwork

ENABLE_CHARGING, DISABLE = 0x02, 0x01
ROUNDS = 20


class Guest:
    """Node with its board, and measured durations."""

    def __init__(self, folder: Path) -> None:
        self.chip: SimulatedChip = make_chip()
        self.coil_moved_at = 0.0
        self.electronics = GuestElectronics(self.chip, self._on_coil)
        self.drivers = self.electronics.drivers()
        self.backend = GpioBackend(guest_board(folder), self.drivers)
        config = NodeConfig(
            storage=folder / "node",
            port=0,
            interfaces=("lo",),
            control=None,
            backend="gpio",
            closings_per_minute=60,  # many rounds to measure
        )
        self.node = EvseNode(config, backend=self.backend)

    def _on_coil(self, is_closed: bool) -> None:
        self.coil_moved_at = time.monotonic()

    def has_switched(self, is_on: bool) -> bool:
        return is_on in self.drivers.switched_at

    def has_contactor(self, state: str) -> bool:
        return self.node.state.contactor.value == state

    async def until(self, condition: Callable[[], bool], limit_s: float = 30) -> float:
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < limit_s, self.node.state
            await asyncio.sleep(0.005)
        return time.monotonic() - begin

    def close(self) -> None:
        self.electronics.close()
        self.chip.close()


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    made = Guest(tmp_path)
    try:
        async with made.node:
            yield made
        assert not made.chip.is_high(CONTACTOR)
    finally:
        made.close()


def enable(commissioner: UdpCommissioner) -> object:
    fields: TlvValue = {0: None, 1: SignedInt(6_000), 2: SignedInt(16_000)}
    return commissioner.client.invoke((1, EVSE, ENABLE_CHARGING), fields, timed_ms=10_000)


async def test_charging_session_over_matter(guest: Guest) -> None:
    node, electronics, chip = guest.node, guest.electronics, guest.chip
    network = UdpNetwork()
    commissioner = UdpCommissioner(network)
    node_address = ("::1", node.port, 0, 0)
    await asyncio.to_thread(commissioner.commission_node, node_address, node.factory.passcode, 1)
    assert (PWM / "duty_cycle").read_text().strip() == "1000000"
    assert await asyncio.to_thread(enable, commissioner) == 0

    electronics.vehicle = PilotState.B
    await guest.until(lambda: node.state.state is State.PLUGGED_IN_NO_DEMAND)
    await guest.until(lambda: (PWM / "duty_cycle").read_text().strip() == "266000")
    assert not chip.is_high(CONTACTOR)

    began = time.monotonic()
    electronics.vehicle = PilotState.C
    await guest.until(lambda: chip.is_high(CONTACTOR))
    closed_s = time.monotonic() - began
    await guest.until(lambda: node.state.state is State.PLUGGED_IN_CHARGING)
    await guest.until(lambda: node.state.contactor.value == "closed")
    assert await asyncio.to_thread(commissioner.state) == 3

    began = time.monotonic()
    electronics.vehicle = PilotState.A
    await guest.until(lambda: not chip.is_high(CONTACTOR))
    opened_s = time.monotonic() - began
    await guest.until(lambda: node.state.state is State.NOT_PLUGGED_IN)
    assert await asyncio.to_thread(commissioner.state) == 0
    assert node.state.fault is FaultState.NO_ERROR
    assert closed_s > 0
    assert opened_s > 0
    network.close()


async def charge(guest: Guest) -> None:
    from evse_node.state_machine.events import EnableCharging
    from evse_node.units import Milliamps

    guest.node.charger.handle(
        EnableCharging(None, Milliamps(6_000), Milliamps(16_000)), time.monotonic()
    )
    guest.electronics.vehicle = PilotState.C
    await guest.until(lambda: guest.node.state.contactor.value == "closed")
    assert guest.chip.is_high(CONTACTOR)


async def test_emergency_stop_opens_and_latches(guest: Guest) -> None:
    await charge(guest)
    guest.chip.pull(STOP, True)
    await guest.until(lambda: not guest.chip.is_high(CONTACTOR))
    await guest.until(lambda: guest.node.state.fault is FaultState.EMERGENCY_STOP)
    guest.chip.pull(STOP, False)
    await asyncio.sleep(0.5)
    assert guest.node.state.fault is FaultState.EMERGENCY_STOP
    guest.electronics.vehicle = PilotState.A
    await guest.until(lambda: guest.node.state.fault is FaultState.NO_ERROR)


async def test_welded_contactor_is_detected_by_mirror_contact(guest: Guest) -> None:
    await charge(guest)
    guest.electronics.is_stuck = True
    guest.electronics.vehicle = PilotState.A
    await guest.until(lambda: not guest.chip.is_high(CONTACTOR))
    await guest.until(lambda: guest.node.state.fault is FaultState.CONTACT_WET_FAILURE)


async def test_latency_of_orders_is_recorded(guest: Guest) -> None:
    """From a change of the pilot to that of the line; not checked, because emulation is slow."""
    await charge(guest)
    taken: dict[str, list[float]] = {"C to closed": [], "pilot loss to open": []}
    for _ in range(ROUNDS):
        for name, vehicle in (("pilot loss to open", PilotState.B), ("C to closed", PilotState.C)):
            await asyncio.sleep(random.uniform(0.1, 0.2))
            guest.drivers.switched_at.clear()
            began = time.monotonic()
            guest.electronics.vehicle = vehicle
            is_closing = vehicle is PilotState.C
            await guest.until(partial(guest.has_switched, is_closing))
            taken[name].append((guest.drivers.switched_at[is_closing] - began) * 1000)
            state = "closed" if is_closing else "open"
            await guest.until(partial(guest.has_contactor, state))
    for name, values in taken.items():
        add_measured(name, values)
    assert guest.node.state.fault is FaultState.NO_ERROR
