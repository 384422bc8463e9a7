"""The real command line on a board of files, for tests that kill it.

    python -m tests.support.killed_node FOLDER run --config FILE
    python -m tests.support.killed_node FOLDER safe-off --board FILE

In `FOLDER`, `vehicle` holds the pilot state's letter, `lines/` a file for each output and `pwm/` a
sysfs PWM chip. As on a Raspberry Pi, files stay as they are when their process dies; a line's
owner is known by a lock that the kernel drops with the process. With `FOLDER/real` there are
real lines and a real PWM instead: that is for the virtual machine.
"""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from evse_node.cli import hardware
from evse_node.errors import HalError
from evse_node.hal.gpio import linux
from evse_node.hal.gpio.drivers import Edge, Inputs, OutputLine
from evse_node.hal.gpio.pwm import SysfsPwm
from evse_node.hal.gpio.specs import AdcSpec, LineSpec, PwmSpec
from evse_node.platform.sqlite_store import DATABASE_NAME, SqliteStore
from evse_node.state_machine.control_pilot import NOMINAL_MV, PilotState

PWM_DEVICE = "fe20c000.pwm"
COIL = "contactor 1"
BOARD = f"""
name = "files"
[contactor]
output = {{ line = "GPIO17" }}
second-output = {{ line = "GPIO22" }}
feedback = {{ line = "GPIO27" }}
[pilot]
pwm-device = "{PWM_DEVICE}"
pwm-channel = 0
channel = 0
calibration = [[0, -15000], [4095, 15000]]
low-channel = 1
low-calibration = [[0, -15000], [4095, 15000]]
[adc]
kind = "mcp3208"
[lock]
output = {{ line = "GPIO6" }}
unlock-output = {{ line = "GPIO16" }}
pulse-ms = 100
[led]
line = "GPIO21"
"""
OUTPUTS = (COIL, "contactor 2", "lock", "unlock", "LED")


def config(folder: Path, board: Path) -> str:
    return (
        f'backend = "gpio"\ninterface = ["lo"]\nport = 0\ncontrol = "off"\nlog-level = "error"\n'
        f'charging = "enabled"\nstorage = "{folder / "node"}"\n[hal]\nboard = "{board}"\n'
    )


def make_files(folder: Path) -> Path:
    """Write board, configuration and the devices' files; return the configuration."""
    board = folder / "board.toml"
    board.write_text(BOARD)
    file = folder / "evse-node.toml"
    file.write_text(config(folder, board))
    (folder / "lines").mkdir()
    chip, device = folder / "pwm" / "pwmchip0", folder / PWM_DEVICE
    device.mkdir()
    (chip / "pwm0").mkdir(parents=True)
    (chip / "device").symlink_to(device)
    for name, value in (
        *(("enable", "0"), ("duty_cycle", "0")),
        *(("period", "1000000"), ("polarity", "normal")),
    ):
        (chip / "pwm0" / name).write_text(value)
    turn_to(folder, PilotState.A)
    return file


def turn_to(folder: Path, vehicle: PilotState) -> None:
    new = folder / "vehicle.new"
    new.write_text(vehicle.value)
    new.rename(folder / "vehicle")


# Inside the process


class FileOutput:
    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise HalError(f"{file.name}: in use") from None
        self.set(False)

    def set(self, is_active: bool) -> None:
        os.pwrite(self._fd, b"1" if is_active else b"0", 0)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FileInputs:
    """Inputs that are mirror contacts and follow their coil."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def filenos(self) -> list[int]:
        return []

    def read_edges(self) -> Iterable[Edge]:
        return ()

    def is_active(self, name: str) -> bool:
        return (self._folder / name.removesuffix(" mirror contact")).read_text() == "1"

    def close(self) -> None:
        pass


class FileAdc:
    """Pilot levels computed from the PWM's files and the vehicle's letter."""

    def __init__(self, vehicle: Path, channel: Path, interval_s: float) -> None:
        self._vehicle, self._channel, self._interval_s = vehicle, channel, interval_s
        self._read_at = 0.0
        self._levels = (-12_000, -12_000)

    def read(self, channel: int) -> int:
        if time.monotonic() - self._read_at >= self._interval_s:
            self._read_at = time.monotonic()
            self._levels = self._read_levels()
        return round((self._levels[channel] + 15_000) * 4095 / 30_000)

    def _read_levels(self) -> tuple[int, int]:
        enable = (self._channel / "enable").read_text().strip()
        duty = (self._channel / "duty_cycle").read_text().strip()
        if not enable or not duty:
            return self._levels  # being written, which is atomic in sysfs
        is_on, duty_ns = enable == "1", int(duty)
        vehicle_mv = NOMINAL_MV[PilotState(self._vehicle.read_text())]
        high_mv = vehicle_mv if is_on and duty_ns else -12_000
        return high_mv, high_mv if duty_ns == 1_000_000 else -12_000

    def close(self) -> None:
        pass


class FileDrivers(linux.LinuxDrivers):
    folder = Path()

    @property
    def is_real(self) -> bool:
        return (self.folder / "real").exists()

    def open_output(self, name: str, spec: LineSpec) -> OutputLine:  # type: ignore[override]
        if self.is_real:
            return super().open_output(name, spec)
        return FileOutput(self.folder / "lines" / name)

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> Inputs:  # type: ignore[override]
        return super().open_inputs(specs) if self.is_real else FileInputs(self.folder / "lines")

    def open_pwm(self, spec: PwmSpec) -> SysfsPwm:
        return super().open_pwm(spec) if self.is_real else SysfsPwm(spec, self.folder / "pwm")

    def open_adc(self, spec: AdcSpec) -> FileAdc:
        if self.is_real:
            channel = Path("/sys/class/pwm/pwmchip0/pwm0")
            return FileAdc(self.folder / "vehicle", channel, 0.02)
        return FileAdc(self.folder / "vehicle", self.folder / "pwm/pwmchip0/pwm0", 0)


# Outside of the process


class Killer:
    """Driver of a process that is killed. `is_on` returns whether the coil's line is driven.

    `pace_s` is about the duration of a start.
    """

    def __init__(
        self,
        folder: Path,
        config: Path,
        board: Path,
        is_on: Callable[[], bool],
        pace_s: float = 1.0,
    ) -> None:
        self.folder, self._config, self._board, self.is_on = folder, config, board, is_on
        self._pace_s = pace_s
        self._process: subprocess.Popen[bytes] | None = None
        self.left_on = 0
        self.session_id = -1
        self.log = folder / "log"

    def _command(self, *arguments: str | Path) -> list[str]:
        module = [sys.executable, "-m", "tests.support.killed_node", str(self.folder)]
        return [*module, *map(str, arguments)]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("run", "--config", self._config), stdout=log, stderr=log
            )

    def until_on(self, is_on: bool, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while self.is_on() is not is_on:
            assert time.monotonic() < end, f"no change: {self.log.read_text()[-3000:]}"
            assert self._process is not None
            assert self._process.poll() is None, f"it ended: {self.log.read_text()[-3000:]}"
            time.sleep(0.005 * self._pace_s)

    def one_round(self, dice: random.Random) -> str:
        """Start the process, kill it at a random instant, and return the phase."""
        pace_s = self._pace_s
        phase = dice.choice(("start", "charging", "charging", "stop"))
        turn_to(self.folder, PilotState.C)
        self.start()
        assert self._process is not None
        if phase == "start":
            time.sleep(dice.uniform(0, 1.5 * pace_s))
        else:
            self.until_on(True, 30 * pace_s)
            end = time.monotonic() + dice.uniform(0, 0.5 * pace_s)
            while (left_s := end - time.monotonic()) > 0:
                turn_to(self.folder, dice.choice((PilotState.B, PilotState.C)))
                time.sleep(min(left_s, dice.uniform(0.02, 0.12)))
        if phase == "stop":
            self._process.send_signal(signal.SIGTERM)
            time.sleep(dice.uniform(0, 0.1 * pace_s))
        self._process.kill()
        self._process.wait()
        self.left_on += self.is_on()
        return phase

    def make_safe(self) -> str:
        done = subprocess.run(
            self._command("safe-off", "--board", self._board),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def check_store(self) -> None:
        """Check that the database is intact, and its session is not an older one."""
        file = self.folder / "node" / DATABASE_NAME
        if not file.exists():
            return  # killed before there was one
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        store = SqliteStore(self.folder / "node")
        record = store.get("evse/session")
        store.close()
        if record is not None:
            session_id = json.loads(record)["id"]
            assert session_id >= self.session_id
            self.session_id = session_id

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                status = self._process.wait(max(60, 12 * self._pace_s))
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGUSR1)
                time.sleep(self._pace_s)
                raise AssertionError(f"it does not end: {self.log.read_text()[-6000:]}") from None
            assert status == 0, f"{status}: {self.log.read_text()[-6000:]}"

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main() -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    FileDrivers.folder = Path(sys.argv.pop(1))
    linux.LinuxDrivers = FileDrivers  # type: ignore[misc]
    hardware.LinuxDrivers = FileDrivers  # type: ignore[attr-defined]
    from evse_node.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
