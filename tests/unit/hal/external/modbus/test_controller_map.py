"""Register maps: the shipped ones, and errors in invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.errors import ConfigError
from evse_node.hal.external.modbus.controller_map import controller_names, load_controller
from evse_node.hal.external.modbus.registers import Condition, Current, Temperature, all_hold
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


def test_shipped_maps_name_document_and_firmware() -> None:
    assert controller_names() == ["phoenix-em-cp-pp-eth", "simpleevse", "smartevse"]
    for name in controller_names():
        registers = load_controller(name)
        assert registers.document
        assert registers.firmware
        states = registers.status.pilot_states
        assert states.A
        assert states.B
        assert states.C


def test_simpleevse_reads_in_two_blocks() -> None:
    registers = load_controller("simpleevse")
    link = registers.link
    assert (link.baud, link.parity, link.unit, link.pause_ms) == (9_600, "N", 1, 200)
    assert registers.status_blocks() == [Block(Table.HOLDING, 1000, 8)]
    assert registers.setup_blocks() == [Block(Table.HOLDING, 2000, 6)]
    assert not registers.fallback.describe(10, {Address(Table.HOLDING, 2000): 32})[0]


def test_phoenix_reads_in_three_blocks() -> None:
    registers = load_controller("phoenix-em-cp-pp-eth")
    assert (registers.link.tcp_port, registers.link.unit) == (502, 180)
    assert registers.status.pilot_states.state(ord("C"), PilotState.A) is PilotState.C
    assert registers.status_blocks() == [
        Block(Table.COIL, 400, 1),
        Block(Table.INPUT, 100, 8),
        Block(Table.HOLDING, 300, 1),
    ]
    assert registers.meter is not None
    assert registers.meter.blocks() == [Block(Table.INPUT, 108, 22)]


def test_smartevse_reads_in_one_block() -> None:
    registers = load_controller("smartevse")
    assert registers.fallback.after_s == 11
    assert registers.fallback.current_a == 0
    assert registers.status_blocks() == [Block(Table.INPUT, 0, 8)]
    # Kelvins or degrees Celsius, depending on the firmware.
    assert registers.status.temperature is None
    for with_modem in range(11, 15):
        state = registers.status.pilot_states.state(with_modem, PilotState.A)
        assert state is PilotState.B


def test_minimal_map_has_defaults(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(MINIMAL)
    registers = load_controller(str(file))
    assert registers.name == "x"
    assert registers.orders.open == registers.orders.unavailable == ()
    # Neighbours: 7 to 9 in one read.
    assert registers.status_blocks() == [Block(Table.HOLDING, 7, 3)]
    assert registers.link.turnaround_ms == 100
    assert registers.meter is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "x"', "", r"own\.toml: name is missing: give a string that is not empty"),
        (
            "holding = 7",
            "register = 7",
            r"status\.pilot\.register: no such key; known keys are coil",
        ),
        ("holding = 7", "mask = 7", r"status\.pilot: give exactly one of coil, discrete"),
        ("holding = 7", "holding = 7, input = 7", r"status\.pilot: give exactly one of coil"),
        ("holding = 7", "holding = 70000", r"status\.pilot\.holding: 70000 cannot be used"),
        ("holding = 7", "holding = 7, maks = 1", r"status\.pilot\.maks: no such key"),
        ("mask = 1", "mask = 0", r"status\.closed\[1\]\.mask: 0 cannot be used: give 1 to 65535"),
        (
            "closed = [{ holding = 8, mask = 1 }]",
            "closed = []",
            r"status\.closed: \[\] cannot be used: give conditions like",
        ),
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
        (
            "rest = [{ holding = 9, value = 0 }]",
            "",
            r"orders\.rest is missing: give a list of writes like",
        ),
        ("[link]", "[link]\nbaud = 300", r"link\.baud: 300 cannot be used: give 1200 to 115200"),
        ("[link]", "[link]\nspeed = 1", r"link\.speed: no such key"),
        ("[orders]", "[other]\n[orders]", r"own\.toml: other: no such key"),
        ("value = 0", "value = 0, mask = 1", r"orders\.rest\[1\]: mask, offset and fine-if are"),
        ("value = 0", "value = 0, per-ampere = 1", r"orders\.rest\[1\]: give a value, or with"),
        ("per-ampere = 10", "per-ampere = 10, fine-per-ampere = 100", r"\.fine-if is missing"),
        (
            "per-ampere = 10",
            "per-ampere = 10, fine-if = { holding = 3 }",
            r"orders\.supply\[1\]\.fine-per-ampere is missing: give 1e-06 to 1e\+06",
        ),
        (
            "[orders]",
            '[[faults]]\nfault = "NoError"\nwhen = [{ holding = 8 }]\n[orders]',
            r"faults\[1\]\.fault: 'NoError' cannot be used: give one of MeterFailure, OverVolt",
        ),
        (
            "[orders]",
            '[[faults]]\nfault = "Broken"\nwhen = [{ holding = 8 }]\n[orders]',
            r"faults\[1\]\.fault: 'Broken' cannot be used: give one of MeterFailure, OverVoltage",
        ),
    ],
)
def test_invalid_map_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    file = tmp_path / "own.toml"
    assert old in MINIMAL
    file.write_text(MINIMAL.replace(old, new))
    with pytest.raises(ConfigError, match=complaint):
        load_controller(str(file))


def test_unknown_controller_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"hal\.controller: 'wallbe' is no file: give one, or one"
    ):
        load_controller("wallbe")


def test_condition_holds_with_any_bit_or_with_a_value() -> None:
    any_bit, value = Condition(holding=1, mask=6), Condition(holding=1, mask=6, values=(4,))
    for word, has_bit, has_value in ((0, False, False), (2, True, False), (5, True, True)):
        words = {Address(Table.HOLDING, 1): word}
        assert any_bit.holds(words) is has_bit
        assert value.holds(words) is has_value


def test_scale_converts_in_fine_steps_and_limits_to_the_register() -> None:
    address, mode = Address(Table.HOLDING, 1), Address(Table.HOLDING, 2)
    fine_if = Condition(holding=2, mask=0x80)
    scale = Current(holding=1, fine_if=fine_if, fine_per_unit=100)
    assert scale.milli({address: 16, mode: 0}) == 16_000
    assert scale.milli({address: 1650, mode: 0x80}) == 16_500
    assert scale.word(16_999, {mode: 0}) == 16
    assert scale.word(16_999, {mode: 0x80}) == 1699
    assert Current(holding=1, per_unit=1000).word(80_000, {}) == 0xFFFF
    assert Current(holding=1, offset=10).word(6_000, {}) == 0
    assert Temperature(holding=1, offset=-273).milli({address: 298}) == 25_000


def test_simpleevse_faults() -> None:
    signs = load_controller("simpleevse").faults

    def faults(vehicle: int, status: int) -> set[FaultState]:
        words = dict.fromkeys((Address(Table.HOLDING, each) for each in range(1000, 1008)), 0)
        words |= {Address(Table.HOLDING, 1002): vehicle, Address(Table.HOLDING, 1007): status}
        return {sign.fault for sign in signs if all_hold(sign.when, words)}

    assert faults(3, 0x01) == set()
    assert faults(5, 0x00) == {FaultState.OTHER}
    assert faults(5, 0x20) == {FaultState.GROUND_FAULT}
    assert faults(5, 0x10) == {FaultState.GROUND_FAULT}
    assert faults(2, 0x10) == set()
    assert faults(5, 0x02) == {FaultState.OTHER}
