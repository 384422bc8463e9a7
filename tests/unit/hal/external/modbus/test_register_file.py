"""Register maps: the shipped ones, and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.errors import ConfigError
from evse_node.hal.external.modbus.register_file import controller_names, load_controller
from evse_node.hal.external.modbus.registers import Condition, Place, Scale, Target
from evse_node.hal.modbus.table import Address, Block, Table
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState

MINIMAL = """
name = "x"
document = "y"
firmware = "1"

[link]

[status]
pilot = { holding = 7 }
closed = [{ holding = 8, mask = 1 }]

[status.pilot-states]
A = [0]
B = [1]
C = [2]

[orders]
supply = [{ holding = 9, per-ampere = 10 }]
rest = [{ holding = 9, value = 0 }]
"""


def test_the_shipped_ones() -> None:
    assert controller_names() == ["phoenix-em-cp-pp-eth", "simpleevse", "smartevse"]
    for name in controller_names():
        chart = load_controller(name)
        assert chart.document
        assert chart.firmware
        states = set(chart.pilot_states.values())
        assert {PilotState.A, PilotState.B, PilotState.C} <= states


def test_simpleevse() -> None:
    chart = load_controller("simpleevse")
    assert (chart.link.baud, chart.link.parity, chart.link.unit) == (9_600, "N", 1)
    assert chart.pause_s == 0.2
    assert chart.status_blocks() == [Block(Table.HOLDING, 1000, 8)]
    assert chart.setup_blocks() == [Block(Table.HOLDING, 2000, 6)]
    assert not chart.fallback.has_timeout


def test_phoenix() -> None:
    chart = load_controller("phoenix-em-cp-pp-eth")
    assert (chart.link.tcp_port, chart.link.unit) == (502, 180)
    assert chart.pilot_states[ord("C")] is PilotState.C
    assert chart.status_blocks() == [
        Block(Table.COIL, 400, 1),
        Block(Table.INPUT, 100, 8),
        Block(Table.HOLDING, 300, 1),
    ]
    assert chart.meter is not None
    assert chart.meter.blocks() == [(108, 22)]


def test_smartevse() -> None:
    chart = load_controller("smartevse")
    assert chart.fallback.after_s == 11
    assert chart.fallback.current_ma == 0
    assert chart.status_blocks() == [Block(Table.INPUT, 0, 8)]
    # In kelvins or degrees Celsius, as the firmware likes.
    assert chart.temperature is None
    for with_modem in range(11, 15):
        assert chart.pilot_states[with_modem] is PilotState.B


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(MINIMAL)
    chart = load_controller(str(file))
    assert chart.name == "x"
    assert chart.orders.keys() == {Target.SUPPLY, Target.REST}
    # 7 to 9 in one read: neighbours.
    assert chart.status_blocks() == [Block(Table.HOLDING, 7, 3)]
    assert chart.turnaround_s == 0.1
    assert chart.meter is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "x"', "", r"own\.toml: name is missing: give a text"),
        ("holding = 7", "register = 7", r"status\.pilot: give exactly one of coil, discrete"),
        ("holding = 7", "holding = 7, input = 7", r"status\.pilot: give exactly one of coil"),
        ("holding = 7", "holding = 70000", r"status\.pilot\.holding: 70000 cannot be used"),
        ("holding = 7", "holding = 7, maks = 1", r"status\.pilot\.maks: no such key"),
        ("mask = 1", "mask = 0", r"status\.closed\[1\]\.mask: 0 cannot be used: give 1 to 65535"),
        ("closed = [{ holding = 8, mask = 1 }]", "closed = []", r"status\.closed is missing"),
        ("C = [2]", "", r"status\.pilot-states\.C is missing"),
        ("C = [2]", "C = [1]", r"status\.pilot-states\.C: 1 means state B already"),
        ("C = [2]", 'C = ["2"]', r"pilot-states\.C: \['2'\] cannot be used: give a list of whole"),
        ("C = [2]", "C = [2]\nX = [3]", r"status\.pilot-states\.X: no such key"),
        (", per-ampere = 10", "", r"orders\.supply\[1\]: give a value, or with per-ampere how"),
        ("holding = 9, per", "input = 9, per", r"orders\.supply\[1\]\.input: cannot be written"),
        (
            "[{ holding = 9, value = 0 }]",
            "[{ coil = 9, value = 0, broadcast-unit = 9 }]",
            r"orders\.rest\[1\]\.broadcast-unit: only for a holding register",
        ),
        ("rest = [{ holding = 9, value = 0 }]", "", r"orders\.rest is missing: give a list"),
        ("[link]", "[link]\nbaud = 300", r"link\.baud: 300 cannot be used: give 1200 to 115200"),
        ("[link]", "[link]\nspeed = 1", r"link\.speed: no such key"),
        ("[orders]", "[other]\n[orders]", r"own\.toml: other: no such key"),
        (
            "[orders]",
            '[[faults]]\nfault = "Broken"\nwhen = [{ holding = 8 }]\n[orders]',
            r"faults\[1\]\.fault: 'Broken' cannot be used: give one of MeterFailure, OverVoltage",
        ),
    ],
)
def test_what_is_wrong(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    file = tmp_path / "own.toml"
    assert old in MINIMAL
    file.write_text(MINIMAL.replace(old, new))
    with pytest.raises(ConfigError, match=complaint):
        load_controller(str(file))


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(
        ConfigError, match=r"hal\.controller: 'wallbe' is no file: give one, or one"
    ):
        load_controller("wallbe")


def test_conditions() -> None:
    address = Address(Table.HOLDING, 1)
    any_bit, value = Condition(Place(address, 6)), Condition(Place(address, 6), frozenset({4}))
    for word, has_bit, has_value in ((0, False, False), (2, True, False), (5, True, True)):
        words = {address: word}
        assert any_bit.holds(words) is has_bit
        assert value.holds(words) is has_value


def test_scales() -> None:
    address, mode = Address(Table.HOLDING, 1), Address(Table.HOLDING, 2)
    scale = Scale(Place(address), 1, 0, Condition(Place(mode, 0x80)), 100)
    assert scale.milli({address: 16, mode: 0}) == 16_000
    assert scale.milli({address: 1650, mode: 0x80}) == 16_500
    assert scale.word(16_999, {mode: 0}) == 16
    assert scale.word(16_999, {mode: 0x80}) == 1699
    # Never more than fits, and never less than nothing.
    assert Scale(Place(address), 1000).word(80_000, {}) == 0xFFFF
    assert Scale(Place(address), 1, 10).word(6_000, {}) == 0
    kelvin = Scale(Place(address), 1, -273)
    assert kelvin.milli({address: 298}) == 25_000


def test_faults_of_simpleevse() -> None:
    chart = load_controller("simpleevse")

    def faults(vehicle: int, status: int) -> set[FaultState]:
        words = dict.fromkeys((Address(Table.HOLDING, each) for each in range(1000, 1008)), 0)
        words |= {Address(Table.HOLDING, 1002): vehicle, Address(Table.HOLDING, 1007): status}
        return {
            sign.fault
            for sign in chart.faults
            if all(each.holds(words) for each in sign.conditions)
        }

    assert faults(3, 0x01) == set()
    assert faults(5, 0x00) == {FaultState.OTHER}
    assert faults(5, 0x20) == {FaultState.GROUND_FAULT}
    assert faults(5, 0x10) == {FaultState.GROUND_FAULT}
    assert faults(2, 0x10) == set()
    assert faults(5, 0x02) == {FaultState.OTHER}
