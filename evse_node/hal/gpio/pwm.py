"""PWM of the pilot through sysfs. It outlives its owner: see `cli.hardware`.

The chip is found by the name of its device, because its number varies with other chips.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.specs import PWM_PERIOD_NS, PwmSpec

PWM_CLASS: Final = Path("/sys/class/pwm")
_EXPORT_LIMIT_S: Final = 1.0


def find_pwm_chip(spec: PwmSpec, folder: Path = PWM_CLASS) -> Path:
    """Return the chip whose device has one of the names. Raises HalError that lists the chips."""
    there: dict[str, Path] = {}
    for chip in sorted(folder.glob("pwmchip*")):
        device = (chip / "device").resolve().name
        there.setdefault(device, chip)
    for name in spec.devices:
        if name in there:
            return there[name]
    known = ", ".join(sorted(there)) or "none"
    raise HalError(
        f"no PWM chip {' or '.join(spec.devices)}; found: {known} "
        "(on a Pi: dtoverlay=pwm-2chan in /boot/firmware/config.txt)"
    )


class SysfsPwm:
    """One channel at 1 kHz. Duty 0 and 1000 are constant levels.

    Each value is read back, and a different one raises HalError.
    """

    def __init__(self, spec: PwmSpec, folder: Path = PWM_CLASS) -> None:
        chip = find_pwm_chip(spec, folder)
        self._channel = chip / f"pwm{spec.pwm_channel}"
        self._export(chip, spec.pwm_channel)
        polarity = "inversed" if spec.is_inverted else "normal"
        try:
            if self._read("polarity") != polarity:
                self._write("enable", "0")
                self._write("polarity", polarity)
        except (OSError, HalError):
            # Some chips have no polarity, which matters only for an inverted pilot.
            if spec.is_inverted:
                raise
        # The duty must never exceed the period, whatever was there before.
        if self._read("period") != str(PWM_PERIOD_NS):
            self._write("duty_cycle", "0")
            self._write("period", str(PWM_PERIOD_NS))
        self.drive(0)

    def _export(self, chip: Path, channel: int) -> None:
        try:
            (chip / "export").write_text(str(channel))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise HalError(
                    f"{chip}: permission denied: install the udev rules and join group gpio"
                ) from None
            if error.errno != errno.EBUSY:  # EBUSY: exported already
                raise HalError(f"{chip}: channel {channel}: {error.strerror}") from None
        # udev sets the owner a moment after the files appear.
        end = time.monotonic() + _EXPORT_LIMIT_S
        while True:
            try:
                with (self._channel / "enable").open("r+"):
                    return
            except OSError as error:
                if time.monotonic() > end:
                    raise HalError(f"{self._channel}: {error.strerror}") from None
            time.sleep(0.01)

    def drive(self, duty_permille: int) -> None:
        """Set the duty cycle. Raises HalError when the channel does not accept it."""
        self._write("duty_cycle", str(PWM_PERIOD_NS * duty_permille // 1000))
        if self._read("enable") != "1":
            self._write("enable", "1")

    def disable(self) -> None:
        self._write("duty_cycle", "0")
        self._write("enable", "0")

    def close(self) -> None:
        """Do nothing: the channel keeps its last output."""

    def _write(self, name: str, value: str) -> None:
        (self._channel / name).write_text(value)
        kept = self._read(name)
        if kept != value:
            raise HalError(f"{self._channel / name} keeps {kept}, not {value}")

    def _read(self, name: str) -> str:
        return (self._channel / name).read_text().strip()
