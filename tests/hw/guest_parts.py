"""Tests inside the virtual machine: each driver by itself, on the kernel's own devices."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.gpio.adc import open_adc
from evse_node.hal.gpio.lines import GpioInputs, GpioOutput, find_line
from evse_node.hal.gpio.pwm import SysfsPwm
from evse_node.hal.gpio.specs import (
    Ads1115Spec,
    Bias,
    LineSpec,
    PwmSpec,
    Tmp102Spec,
    WatchdogSpec,
)
from evse_node.hal.gpio.thermometers import open_temperature_source
from evse_node.hal.gpio.watchdog import KernelWatchdog
from tests.hw.gpio_sim import SimulatedChip
from tests.hw.guest_board import CONTACTOR, LABEL, MIRROR, PWM, STOP, make_chip, write_board
from tests.hw.virtual_machine import PWM_DEVICE

CHIPS = ("pinctrl-rp1", LABEL)
MODULES = Path("/mnt/modules")


@pytest.fixture
def chip() -> Iterator[SimulatedChip]:
    made = make_chip()
    yield made
    made.close()


def insert(module: str, *parameters: str) -> None:
    subprocess.run(
        ["/bin/busybox", "insmod", str(MODULES / f"{module}.ko"), *parameters], check=True
    )


def test_line_is_found_by_label_and_name_or_number(chip: SimulatedChip) -> None:
    by_name = find_line(LineSpec(CONTACTOR, CHIPS))
    assert (by_name.chip_label, by_name.offset, by_name.consumer) == (LABEL, 17, "")
    assert find_line(LineSpec(17, CHIPS)) == by_name
    with pytest.raises(HalError, match="has no line 'GPIO99'"):
        find_line(LineSpec("GPIO99", CHIPS))
    with pytest.raises(HalError, match=f"no GPIO chip with label other; found: .*{LABEL}"):
        find_line(LineSpec(CONTACTOR, ("other",)))


def test_output_is_driven_and_has_one_owner(chip: SimulatedChip) -> None:
    spec = LineSpec(CONTACTOR, CHIPS)
    output = GpioOutput("contactor", spec)
    assert not chip.is_high(CONTACTOR)
    output.set(True)
    assert chip.is_high(CONTACTOR)
    with pytest.raises(HalError, match="in use by 'evse-node'"):
        GpioOutput("another", spec)
    output.close()
    output.close()
    with pytest.raises(HalError):
        output.set(True)
    assert not chip.is_high(CONTACTOR)


def test_active_low_output_starts_high(chip: SimulatedChip) -> None:
    output = GpioOutput("contactor", LineSpec(CONTACTOR, CHIPS, active="low"))
    assert chip.is_high(CONTACTOR)
    output.set(True)
    assert not chip.is_high(CONTACTOR)
    output.close()


def test_edges_make_descriptor_readable(chip: SimulatedChip) -> None:
    chip.pull(MIRROR, True)
    spec = LineSpec(MIRROR, CHIPS, active="low", bias=Bias.PULL_UP)
    inputs = GpioInputs({"mirror": spec})
    (fd,) = inputs.filenos()
    assert not inputs.is_active("mirror")
    assert not select.select([fd], [], [], 0)[0]
    for is_active in (True, False):
        before = time.monotonic_ns()
        chip.pull(MIRROR, not is_active)
        assert select.select([fd], [], [], 5)[0]
        (edge,) = inputs.read_edges()
        assert (edge.name, edge.is_active) == ("mirror", is_active)
        assert before <= edge.timestamp_ns <= time.monotonic_ns()
        assert inputs.is_active("mirror") is is_active
    inputs.close()


def test_two_threads_read_different_lines(chip: SimulatedChip) -> None:
    """With both lines in one request, gpiod would mix up their values."""
    chip.pull(MIRROR, True)
    chip.pull(STOP, False)
    inputs = GpioInputs({"high": LineSpec(MIRROR, CHIPS), "low": LineSpec(STOP, CHIPS)})
    ends_at = time.monotonic() + 3
    wrong: list[str] = []

    def read(name: str, is_active: bool) -> None:
        while time.monotonic() < ends_at:
            if inputs.is_active(name) is not is_active:
                wrong.append(name)

    threads = [
        threading.Thread(target=read, args=arguments)
        for arguments in (("high", True), ("low", False))
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    inputs.close()
    assert not wrong


def test_pwm_is_found_by_device_and_outlives_owner() -> None:
    with pytest.raises(HalError, match=f"found: .*{PWM_DEVICE}"):
        SysfsPwm(PwmSpec(("1f00098000.pwm",), 0))
    pwm = SysfsPwm(PwmSpec(("1f00098000.pwm", PWM_DEVICE), 0))
    assert (PWM / "period").read_text().strip() == "1000000"
    assert (PWM / "duty_cycle").read_text().strip() == "0"
    pwm.drive(266)
    pwm.close()
    assert (PWM / "duty_cycle").read_text().strip() == "266000"
    assert (PWM / "enable").read_text().strip() == "1"
    pwm = SysfsPwm(PwmSpec((PWM_DEVICE,), 0))
    assert (PWM / "duty_cycle").read_text().strip() == "0"
    pwm.disable()
    assert (PWM / "enable").read_text().strip() == "0"


_KILLED = """
import sys, time
from tests.hw.guest_board import guest_board
from evse_node.hal.gpio.linux import LinuxDrivers
from pathlib import Path
board = guest_board(Path(sys.argv[1]))
drivers = LinuxDrivers()
coil = drivers.open_output("contactor", board.contactor.output)
pwm = drivers.open_pwm(board.pilot)
pwm.drive(266)
coil.set(True)
print("charging", flush=True)
time.sleep(600)
"""


def test_safe_off_works_after_killed_process(chip: SimulatedChip, tmp_path: Path) -> None:
    """This kernel releases the line of a dead process; a Pi's may not: see the documentation."""
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "charging\n"
    process.stdout.close()
    assert chip.is_high(CONTACTOR)
    command = [
        *(sys.executable, "-m", "evse_node", "safe-off", "--board"),
        str(write_board(tmp_path)),
    ]
    busy = subprocess.run(command, capture_output=True, text=True, check=False)
    assert busy.returncode == 1
    assert "contactor 1: NOT SAFE" in busy.stdout
    process.send_signal(signal.SIGKILL)
    process.wait()
    (PWM / "duty_cycle").write_text("266000")
    (PWM / "enable").write_text("1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "contactor 1: off\npilot: off\n"
    assert not chip.is_high(CONTACTOR)
    assert (PWM / "enable").read_text().strip() == "0"
    assert (PWM / "duty_cycle").read_text().strip() == "0"


def test_kernel_watchdog_is_fed_and_disarmed() -> None:
    insert("softdog", "soft_noboot=1")
    watchdog = KernelWatchdog(WatchdogSpec("/dev/watchdog", 7))
    state = Path("/sys/class/watchdog/watchdog0")
    try:
        assert _timeout(watchdog) == 7
        watchdog.feed()
        with pytest.raises(HalError, match="watchdog is needed"):
            KernelWatchdog(WatchdogSpec("/dev/watchdog", 7))
    finally:
        watchdog.close()
    watchdog.close()
    assert not (state / "state").exists() or (state / "state").read_text().strip() == "inactive"
    KernelWatchdog(WatchdogSpec("/dev/watchdog", 9)).close()


def _timeout(watchdog: KernelWatchdog) -> int:
    answer = fcntl.ioctl(watchdog._fd, 0x80045707, struct.pack("i", 0))
    (timeout,) = struct.unpack("i", answer)
    return int(timeout)


@pytest.fixture(scope="module")
def i2c_bus() -> int:
    insert("i2c-stub", "chip_addr=0x48,0x4a")
    bus = next(
        int(entry.name.removeprefix("i2c-"))
        for entry in Path("/sys/class/i2c-dev").iterdir()
        if "stub" in (entry / "name").read_text().lower()
    )
    if not os.path.exists(f"/dev/i2c-{bus}"):
        pytest.fail("no device file for the stub's bus")
    return bus


def test_tmp102_is_read_on_real_i2c_bus(i2c_bus: int) -> None:
    import smbus2

    with smbus2.SMBus(i2c_bus) as raw:
        raw.write_i2c_block_data(0x4A, 0, [0xE7, 0x40])
    spec = Tmp102Spec(bus=i2c_bus, address=0x4A)
    source = open_temperature_source(spec)
    assert source.read() == -24_750
    source.close()
    absent = open_temperature_source(replace(spec, address=0x4B))
    with pytest.raises(OSError, match=r"."):
        absent.read()
    absent.close()


def test_ads1115_is_read_on_real_i2c_bus(i2c_bus: int) -> None:
    bus = i2c_bus
    adc = open_adc(Ads1115Spec(bus, 0x48))
    # The stub has byte registers: the low byte of the answer is that of the configuration.
    assert adc.read(2) & 0xFF == 0x80 | (4 + 2) << 4 | 3
    adc.close()
    absent = open_adc(Ads1115Spec(bus, 0x49))
    with pytest.raises(OSError, match=r"."):
        absent.read(0)
    absent.close()
