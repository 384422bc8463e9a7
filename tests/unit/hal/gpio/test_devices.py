"""Converters, PWM files, watchdogs, safe-off and doctor."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from evse_node.cli import hardware
from evse_node.cli.doctor import examine, wiring
from evse_node.cli.hardware import make_safe
from evse_node.errors import ConfigError, HalError
from evse_node.hal.gpio import adc
from evse_node.hal.gpio.adc import Ads1115, Mcp3x08
from evse_node.hal.gpio.pwm import SysfsPwm, find_pwm_chip
from evse_node.hal.gpio.specs import (
    LineSpec,
    Mcp3008Spec,
    Mcp3208Spec,
    PwmSpec,
    SpiAdcSpec,
    WatchdogSpec,
)
from evse_node.hal.gpio.watchdog import KernelWatchdog, Watchdogs
from evse_node.hal.optional_packages import load_extra
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from tests.contract.gpio_bench import GpioBench, bench_board
from tests.support.hal.gpio_electronics import SimulatedElectronics, SimulatedOutput


@dataclass
class Spi:
    answer: list[int]
    sent: list[int] = field(default_factory=list)

    def xfer2(self, values: list[int]) -> list[int]:
        self.sent = values
        return self.answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("spec", "channel", "sent", "answer", "raw"),
    [
        # MCP3204/3208 data sheet, figure 6-1; MCP3004/3008 data sheet, figure 6-1.
        (Mcp3208Spec(), 0, [0x06, 0x00, 0], [0xFF, 0xEF, 0xFF], 4095),
        (Mcp3208Spec(), 7, [0x07, 0xC0, 0], [0x00, 0x0A, 0xBC], 0xABC),
        (Mcp3008Spec(), 0, [0x01, 0x80, 0], [0xFF, 0xFB, 0xFF], 1023),
        (Mcp3008Spec(), 5, [0x01, 0xD0, 0], [0x00, 0x02, 0x34], 0x234),
    ],
)
def test_mcp3x08_reads_channel(
    spec: SpiAdcSpec, channel: int, sent: list[int], answer: list[int], raw: int
) -> None:
    bus = Spi(answer)
    assert Mcp3x08(bus, spec).read(channel) == raw
    assert bus.sent == sent


@pytest.mark.parametrize("spec", [Mcp3008Spec(), Mcp3208Spec()])
def test_floating_spi_bus_raises_error(spec: SpiAdcSpec) -> None:
    with pytest.raises(HalError, match="no converter answers"):
        Mcp3x08(Spi([0xFF, 0xFF, 0xFF]), spec).read(0)


def test_spi_device_is_closed_when_settings_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    class SpiDev:
        closed = 0

        def open(self, bus: int, chip_select: int) -> None:
            pass

        def __setattr__(self, name: str, value: int) -> None:
            raise OSError(22, "Invalid argument")

        def close(self) -> None:
            SpiDev.closed += 1

    module = ModuleType("spidev")
    module.SpiDev = SpiDev  # type: ignore[attr-defined]
    monkeypatch.setattr(adc, "load_extra", lambda name, purpose: module)
    with pytest.raises(HalError, match=r"/dev/spidev0\.1: Invalid argument"):
        adc.open_spi(0, 1, 1_000_000, "a test")
    assert SpiDev.closed == 1


@dataclass
class I2c:
    registers: dict[int, list[int]] = field(default_factory=dict)
    is_ready: bool = True

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        self.registers[register] = [data[0] & 0x7F | 0x80 * self.is_ready, data[1]]

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        return self.registers[register]

    def close(self) -> None:
        pass


def test_ads1115_reads_channel() -> None:
    bus = I2c({0: [0xFF, 0xFE]})
    assert Ads1115(bus, 0x48).read(3) == -2
    assert bus.registers[1] == [0xF3, 0xE3]
    bus.is_ready = False
    with pytest.raises(HalError, match="did not complete its conversion"):
        Ads1115(bus, 0x48).read(0)


def test_missing_package_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'evse-node\[gpio\]'"):
        load_extra("no_such_package.part", "a test")


# PWM


@pytest.fixture
def pwm_class(tmp_path: Path) -> Path:
    folder = tmp_path / "class"
    for number, name in enumerate(("other.pwm", "fe20c000.pwm")):
        device = tmp_path / "devices" / name
        chip = device / f"pwmchip{number}"
        channel = chip / "pwm0"
        channel.mkdir(parents=True)
        (chip / "device").symlink_to(device)
        for file, value in {"period": 0, "duty_cycle": 0, "enable": 0}.items():
            (channel / file).write_text(f"{value}\n")
        (channel / "polarity").write_text("normal\n")
        folder.mkdir(exist_ok=True)
        (folder / f"pwmchip{number}").symlink_to(chip)
    return folder


def test_pwm_chip_is_found_by_device_name(pwm_class: Path) -> None:
    spec = PwmSpec(("1f00098000.pwm", "fe20c000.pwm"), 0)
    assert find_pwm_chip(spec, pwm_class).name == "pwmchip1"
    with pytest.raises(HalError, match=r"found: fe20c000\.pwm, other\.pwm"):
        find_pwm_chip(PwmSpec(("1f00098000.pwm",), 0), pwm_class)


def test_pwm_files_are_written_and_read_back(pwm_class: Path) -> None:
    pwm = SysfsPwm(PwmSpec(("fe20c000.pwm",), 0, is_inverted=True), pwm_class)
    channel = pwm_class / "pwmchip1/pwm0"

    def files() -> tuple[str, ...]:
        names = ("period", "duty_cycle", "enable", "polarity")
        return tuple((channel / name).read_text().strip() for name in names)

    assert files() == ("1000000", "0", "1", "inversed")
    pwm.drive(533)
    assert files() == ("1000000", "533000", "1", "inversed")
    pwm.disable()
    assert files() == ("1000000", "0", "0", "inversed")


# Watchdogs


def test_systemd_is_notified(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(1)
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1500000"}
        dogs = Watchdogs(None, ServiceManager(environment))
        dogs.ready()
        assert manager.recv(100) == b"READY=1"
        for now in (0.0, 0.3, 0.5, 0.9, 1.1):
            dogs.feed(now)
        assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    dogs.feed(9.0)  # the socket is closed
    dogs.close()


def test_missing_watchdog_device_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HalError, match="the watchdog is needed"):
        KernelWatchdog(WatchdogSpec(str(tmp_path / "watchdog")))


def test_watchdogs_are_not_fed_without_sampler_or_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = GpioBench()
    bench.attach()
    parts = bench.backend._parts
    assert parts is not None
    fed: list[float] = []
    monkeypatch.setattr(parts.watchdogs, "feed", fed.append)
    bench.wait(0.1)
    assert fed
    bench.runs_sampler = False
    bench.wait(0.6)
    fed.clear()
    bench.wait(1)
    assert not fed
    bench.runs_sampler = True
    bench.wait(0.1)
    assert fed
    bench.runs_loop = False
    fed.clear()
    bench.wait(1)
    assert not fed


# safe-off and doctor


@pytest.fixture
def electronics() -> SimulatedElectronics:
    return SimulatedElectronics(bench_board(), lambda: 100.0)


def test_safe_off_switches_everything_off(electronics: SimulatedElectronics) -> None:
    electronics.coils = {"contactor 1": True, "contactor 2": True}
    electronics.lines = {"LED": True}
    electronics.duty_permille = 533
    steps = make_safe(electronics.board, electronics)
    assert [step.part for step in steps][:2] == ["contactor 1", "contactor 2"]
    assert not any(step.problem for step in steps)
    assert not any(electronics.coils.values())
    assert electronics.duty_permille == 0
    assert electronics.lines["LED"] is False
    assert electronics.open_count == 0


@pytest.mark.parametrize("broken", ["contactor 1", "open LED", "open pwm"])
def test_safe_off_continues_after_failure(electronics: SimulatedElectronics, broken: str) -> None:
    electronics.coils = {"contactor 1": True, "contactor 2": True}
    electronics.duty_permille = 533
    electronics.failing.add(broken)
    steps = make_safe(electronics.board, electronics)
    (problem,) = [step for step in steps if step.problem]
    assert "is broken" in problem.problem
    assert not electronics.coils["contactor 2"]
    assert (electronics.duty_permille == 0) is (broken != "open pwm")


def fail_oddly(*arguments: object) -> None:
    raise ValueError


def test_safe_off_continues_after_any_exception(electronics: SimulatedElectronics) -> None:
    electronics.coils = {"contactor 1": True, "contactor 2": True}
    electronics.duty_permille = 533
    electronics.open_inputs = fail_oddly  # type: ignore[method-assign,assignment]
    opened = electronics.open_output

    def open_output(name: str, spec: LineSpec) -> SimulatedOutput:
        if name == "contactor 1":
            raise ValueError
        return opened(name, spec)

    electronics.open_output = open_output  # type: ignore[method-assign]
    steps = make_safe(electronics.board, electronics)
    assert [step for step in steps if step.problem] == [("contactor 1", "ValueError()")]
    assert not electronics.coils["contactor 2"]
    electronics.open_pwm = fail_oddly  # type: ignore[method-assign,assignment]
    assert make_safe(electronics.board, electronics)[-1] == ("pilot", "ValueError()")


def test_doctor_continues_after_any_exception(electronics: SimulatedElectronics) -> None:
    electronics.open_meter = fail_oddly  # type: ignore[method-assign,assignment]
    checks = {check.part: check for check in examine(electronics.board, electronics)}
    assert (checks["meter"].is_fine, checks["meter"].text) == (False, "ValueError()")
    assert checks["thermometer"].is_fine


def test_missing_package_before_start_raises_hal_error() -> None:
    def fail(*arguments: object) -> object:
        raise ConfigError("it needs the package 'some'")

    bench = GpioBench()
    bench.electronics.open_meter = fail  # type: ignore[method-assign,assignment]
    bench.electronics.open_temperature = fail  # type: ignore[method-assign,assignment]
    meter, thermometer = bench.backend.meter, bench.backend.temperature_sensor
    assert meter is not None
    assert thermometer is not None
    with pytest.raises(HalError, match="needs the package"):
        meter.read()
    with pytest.raises(HalError, match="needs the package"):
        thermometer.read_millicelsius()


def test_doctor_passes_healthy_board(electronics: SimulatedElectronics) -> None:
    checks = list(examine(electronics.board, electronics))
    assert [check for check in checks if not check.is_fine] == []
    parts = [check.part for check in checks]
    assert parts[-5:] == ["converter", "meter", "grid meter", "RFID reader", "thermometer"]
    assert electronics.open_count == 0
    assert not electronics.is_powered()


@pytest.mark.parametrize(
    ("house_mw", "text"),
    [(500_000, "shows 500 W drawn from the grid"), (-1_000_000, "shows 1000 W fed into the grid")],
)
def test_doctor_reports_direction_of_grid_power(
    electronics: SimulatedElectronics, house_mw: int, text: str
) -> None:
    electronics.house_mw = house_mw
    checks = {check.part: check.text for check in examine(electronics.board, electronics)}
    assert checks["grid meter"] == text


@pytest.mark.parametrize(
    ("change", "part", "text"),
    [
        ({"failing": {"grid meter"}}, "grid meter", "grid meter is broken"),
        ({"is_welded": True}, "contactor 1 mirror contact", "is the contactor welded?"),
        ({"stuck_mv": 6_000}, "converter", "mV where -12000 mV is driven"),
        ({"failing": {"meter"}}, "meter", "meter is broken"),
        ({"failing": {"open inputs"}}, "inputs", "open inputs is broken"),
        ({"inputs": {"emergency stop": True}}, "emergency stop", "release it"),
    ],
)
def test_doctor_reports_failed_part(
    electronics: SimulatedElectronics, change: dict[str, object], part: str, text: str
) -> None:
    for name, value in change.items():
        setattr(electronics, name, value)
    electronics.vehicle = PilotState.B
    wrong = {
        check.part: check.text for check in examine(electronics.board, electronics)
        if not check.is_fine
    }  # fmt: skip
    assert text in wrong[part]


@pytest.mark.parametrize(
    ("text", "is_fine"), [("dtparam=strict_gpiod\n", True), ("#dtparam=strict_gpiod\n", False)]
)
def test_doctor_checks_boot_configuration(
    electronics: SimulatedElectronics, tmp_path: Path, text: str, is_fine: bool
) -> None:
    file = tmp_path / "config.txt"
    file.write_text(text)
    last = list(examine(electronics.board, electronics, file))[-1]
    assert (last.part, last.is_fine) == ("kernel", is_fine)


def test_doctor_accepts_kernel_parameter_of_older_models(
    electronics: SimulatedElectronics, tmp_path: Path
) -> None:
    file = tmp_path / "config.txt"
    file.write_text("dtparam=spi=on\n")
    (tmp_path / "cmdline.txt").write_text(
        "root=PARTUUID=1-02 pinctrl_bcm2835.persist_gpio_outputs=n rootwait\n"
    )
    last = list(examine(electronics.board, electronics, file))[-1]
    assert (last.part, last.is_fine) == ("kernel", True)


def test_wiring_table_lists_every_part() -> None:
    rows = {part: (where, how) for part, where, how in wiring(bench_board())}
    assert rows["contactor 1 (out)"] == ("GPIO17", "active high")
    assert rows["contactor 1 mirror contact (in)"] == (
        "GPIO27",
        "active low, pull-up, debounce 5 ms",
    )
    assert rows["pilot voltage (in)"][0] == "mcp3208 on /dev/spidev0.0, channel 0"
    assert rows["meter sdm630"] == ("/dev/ttyUSB0", "unit 1, 9600 N")


def test_commands_print_results_and_raise_on_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = SimulatedElectronics(bench_board(), lambda: 100.0)
    monkeypatch.setattr(hardware, "LinuxDrivers", lambda: made)
    monkeypatch.setattr(hardware, "load_board", lambda name: made.board)
    hardware.safe_off("gpio", {"board": "any"})
    assert capsys.readouterr().out.splitlines()[-1] == "pilot: off"
    hardware.doctor("any")
    shown = capsys.readouterr().out
    assert "  ok    pilot PWM: " in shown
    assert "GPIO17" in shown
    made.failing.add("open pwm")
    with pytest.raises(HalError, match="not in the safe state: pilot"):
        hardware.safe_off("gpio", {"board": "any"})
    with pytest.raises(HalError, match="failed checks: pilot PWM"):
        hardware.doctor("any")
    assert "  WRONG pilot PWM: " in capsys.readouterr().out
