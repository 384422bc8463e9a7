from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from evse_node.errors import ConfigError
from evse_node.hal.gpio.board import Board, board_names, load_board
from evse_node.hal.gpio.specs import (
    Bias,
    HeartbeatSpec,
    I2cAdcSpec,
    LineSpec,
    Mcp3208Spec,
    Pn532I2cSpec,
)
from evse_node.hal.modbus.meter import map_names
from evse_node.hal.registry import create_backend
from evse_node.testing.backend_contract import run_check
from tests.contract.gpio_bench import GpioBench

SMALL = """
name = "small"
[contactor]
output = { line = 17 }
[pilot]
pwm-device = "fe20c000.pwm"
pwm-channel = 0
channel = 0
calibration = [[0, -15000], [4095, 15000]]
[adc]
kind = "mcp3208"
"""


def load(tmp_path: Path, text: str) -> object:
    file = tmp_path / "board.toml"
    file.write_text(text)
    return load_board(str(file))


@pytest.mark.parametrize("name", board_names())
def test_shipped_board_loads(name: str) -> None:
    board = load_board(name)
    assert board.name
    if board.meter is not None and board.meter.map:
        assert board.meter.map in map_names()


def test_shipped_boards_are_documented() -> None:
    text = (Path(__file__).parents[4] / "docs/raspberry-pi.md").read_text()
    assert [name for name in board_names() if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("name", board_names())
async def test_shipped_board_charges_and_opens_when_unplugged(name: str) -> None:
    """Whatever is wired where: closed only with a ready vehicle, and off after the loss."""
    await run_check(
        "the contactor opens by itself when unplugged",
        GpioBench(replace(load_board(name), watchdog=None)),
    )


@pytest.mark.parametrize("name", board_names())
def test_shipped_board_uses_no_pin_of_its_buses(name: str) -> None:
    """Lines that a bus or the pilot of the same board needs are no lines for anything else."""
    board = load_board(name)
    is_on_i2c = isinstance(board.adc, I2cAdcSpec)
    taken = {"GPIO2", "GPIO3"} if is_on_i2c else {"GPIO8", "GPIO9", "GPIO10", "GPIO11"}
    taken |= {"GPIO18"} if name in ("automation-hat", "pi-evse-hat") else {"GPIO12"}
    used = {spec.line for spec in (*board.outputs().values(), *board.inputs().values())}
    assert not used & taken


def test_reference_board_has_every_part() -> None:
    board = load_board("reference")
    assert board.adc == Mcp3208Spec()
    assert board.inputs()["contactor 1 mirror contact"] == LineSpec(
        "GPIO27",
        ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835"),
        active="low",
        bias=Bias.PULL_UP,
        debounce_ms=5,
    )
    assert (len(board.outputs()), len(board.inputs())) == (6, 6)
    assert board.rfid == Pn532I2cSpec()
    assert board.ratings.phases == 3
    assert board.pilot.calibration.to_mv(341) == -12_000
    assert board.pilot.calibration.to_mv(2047.5) == 0


@pytest.mark.parametrize(
    ("grid", "is_shared"),
    [('port = "/dev/a"\nunit = 2', True), ('port = "/dev/b"', False), ('host = "house"', False)],
)
def test_meters_on_one_serial_port_share_it(tmp_path: Path, grid: str, is_shared: bool) -> None:
    meters = f'[meter]\nmap="sdm630"\nport="/dev/a"\n[grid-meter]\nmap="sdm72"\n{grid}\n'
    board = load(tmp_path, SMALL + meters)
    assert isinstance(board, Board)
    assert board.grid_meter is not None
    assert board.meter is not None
    assert board.grid_meter.map == "sdm72"
    assert board.is_meter_port_shared is is_shared


def test_heartbeat_and_rcd_latch_are_read(tmp_path: Path) -> None:
    text = """
    [heartbeat]
    line = 4
    active = "low"
    interval-ms = 0.5
    limit-ms = 3
    while = "always"
    [rcd]
    trip = { line = 5 }
    test = { line = 6 }
    test-hz = 50
    test-on-demand = true
    reset = { line = 7 }
    reset-ms = 20
    """
    board = load(tmp_path, SMALL + text)
    assert isinstance(board, Board)
    assert board.heartbeat is not None
    assert board.heartbeat == HeartbeatSpec(
        4, active="low", interval_ms=0.5, limit_ms=3, phase="always"
    )
    assert board.heartbeat.is_active_low
    assert board.rcd is not None
    lines = [board.rcd.trip, board.rcd.test, board.rcd.reset]
    assert [line and line.line for line in lines] == [5, 6, 7]
    assert (board.rcd.test_hz, board.rcd.test_on_demand, board.rcd.reset_ms) == (50, True, 20)
    assert [*board.outputs()] == ["contactor 1", "heartbeat", "RCD test", "RCD reset"]


@pytest.mark.parametrize(("text", "timeout_s"), [("", 0.5), ("timeout-ms = 2000\n", 2.0)])
def test_contactor_timeout_is_read(tmp_path: Path, text: str, timeout_s: float) -> None:
    file = tmp_path / "board.toml"
    file.write_text(SMALL.replace("[contactor]\n", f"[contactor]\n{text}"))
    assert load_board(str(file)).ratings.contactor_timeout_s == timeout_s


def test_minimal_board_loads(tmp_path: Path) -> None:
    board = load_board(str(tmp_path / "board.toml")) if load(tmp_path, SMALL) else None
    assert board is not None
    assert board.pilot.low_channel is None
    assert (board.meter, board.rfid, board.lock, board.watchdog) == (None, None, None, None)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("[adc]", "["), "not TOML"),
        (('name = "small"\n', ""), "name is missing"),
        (("17", "true"), "contactor.output.line: True cannot be used: give the line's name"),
        (("17", '17, active = "up"'), "contactor.output.active: 'up' cannot be used: give one of"),
        (
            ("17", "17, level = 1"),
            "contactor.output.level: no such key; known keys are active",
        ),
        (('"mcp3208"', '"mcp3208"\nbus = 1.5'), "adc.bus: 1.5 cannot be used"),
        (("channel = 0\ncal", "channel = 8\ncal"), "pilot.channel: 8 cannot be used: give 0 to 7"),
        (("[4095, 15000]", "[0, 15000]"), "two different points"),
        (("[[0, -15000], [4095, 15000]]", "[0, 1]"), "pilot.calibration"),
        (('"mcp3208"', '"ads1115"'), "low-channel is missing: an ads1115 is too slow"),
        (("[4095, 15000]", "[nan, 15000]"), "pilot.calibration: [[0, -15000], [nan, 15000]]"),
        (("[4095, 15000]", "[inf, 15000]"), "cannot be used: give two different points"),
        (
            ("[adc]", '[rfid]\nkind = "mfrc522"\nchip-select = 0\n[adc]'),
            "adc and rfid are both at chip select 0 of spi 0",
        ),
        (
            (
                "[adc]",
                '[rfid]\nkind = "pn532-i2c"\n[temperature]\nkind = "lm75"\naddress = 36\n[adc]',
            ),
            "rfid and temperature are both at address 0x24 of i2c 1",
        ),
        (("[adc]", "[extra]\n[adc]"), "extra: no such key"),
        (("17 }", "17 }\nfeedback = { line = 17 }"), "line 17 is wired twice"),
        (("[adc]", '[[button]]\nline = 3\naction = "card"\nuid = "xy"\n[adc]'), "button[1].uid"),
        (("[adc]", '[meter]\nmap = "sdm230"\n[adc]'), "meter.port is missing"),
        (("[adc]", "[heartbeat]\nline = 4\ninterval-ms = 0.1\n[adc]"), "heartbeat.interval-ms"),
        (("[adc]", "[heartbeat]\nline = 4\ninterval-ms = 6\n[adc]"), "twice the interval"),
        (("[adc]", '[heartbeat]\nline = 4\nwhile = "open"\n[adc]'), "heartbeat.while: 'open'"),
        (("[adc]", "[heartbeat]\nline = 17\n[adc]"), "contactor 1, and heartbeat"),
        (("[adc]", "[rcd]\ntrip = { line = 5 }\ntest-hz = 60\n[adc]"), "rcd.test-hz: no such"),
        (("[adc]", "[rcd]\ntrip = { line = 5 }\nreset-ms = 90\n[adc]"), "rcd.reset-ms: no such"),
        (
            ("[adc]", "[rcd]\ntrip = { line = 5 }\nreset = { line = 6 }\nreset-ms = 9\n[adc]"),
            "rcd.reset-ms: 9 cannot be used: give 10 to 1000",
        ),
        (("[adc]", "[meter]\npulse = { line = 5 }\n[adc]"), "meter.pulses-per-kwh is missing"),
        (
            ("[adc]", "[meter]\npulse = { line = 5 }\npulses-per-kwh = 1\nunit = 1\n[adc]"),
            "meter.unit: no such key beside `pulse`",
        ),
        (
            ("[adc]", "[meter]\n[adc]"),
            "meter.map is missing: give a register map's name or file, or",
        ),
        (("channel = 0\n", "channel = 0\nlow-channel = 1\n"), "pilot.low-calibration is missing"),
        (
            ("channel = 0\n", "channel = 0\nlow-calibration = [[0, 0], [1, 1]]\n"),
            "pilot.low-channel is missing",
        ),
        (
            ("17 }", "17 }\nsecond-feedback = { line = 18 }"),
            "contactor.second-output is missing: give the line of the second coil",
        ),
        (("[adc]", "[rcd]\nreset = { line = 5 }\n[adc]"), "rcd.trip is missing"),
        (("[adc]", '[grid-meter]\nport = "x"\n[adc]'), "grid-meter.map is missing"),
        (("[adc]", '[grid-meter]\nmap = "x"\npulse = 1\nport = "x"\n[adc]'), "grid-meter.pulse"),
    ],
)
def test_invalid_board_is_reported_in_one_line(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SMALL.replace(*change, 1))
    message = str(caught.value)
    assert complaint in message
    assert message.startswith(str(tmp_path / "board.toml"))
    assert "\n" not in message


def test_unknown_board_is_reported() -> None:
    with pytest.raises(ConfigError, match="'nowhere' is no file: give one, or one of"):
        load_board("nowhere")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "hal.board is missing: give a file, or one of"),
        ({"board": 3}, "hal.board: 3 cannot be used"),
        ({"board": "reference", "speed": 1}, "hal.speed: no such key"),
    ],
)
def test_invalid_backend_options_are_reported(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_backend("gpio", options)
    assert complaint in str(caught.value)
