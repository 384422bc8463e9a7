"""Chip of gpio-sim inside the virtual machine, with inputs driven through sysfs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CONFIG = Path("/sys/kernel/config/gpio-sim")
_LINES = 32


class SimulatedChip:
    """Chip with this label; `names` are the names of the lines by number."""

    def __init__(self, label: str, names: Mapping[int, str]) -> None:
        self._device = _CONFIG / "board"
        bank = self._device / "bank"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text(str(_LINES))
        (bank / "label").write_text(label)
        self._folders = [bank, self._device]
        self.numbers: dict[str, int] = {}
        for number, name in names.items():
            line = bank / f"line{number}"
            line.mkdir()
            (line / "name").write_text(name)
            self._folders.insert(0, line)
            self.numbers[name] = number
        (self._device / "live").write_text("1")
        device = (self._device / "dev_name").read_text().strip()
        chip = (bank / "chip_name").read_text().strip()
        self._sysfs = Path("/sys/devices/platform") / device / chip

    def is_high(self, name: str) -> bool:
        """Return the level of a line, as seen from outside."""
        return (self._line(name) / "value").read_text().strip() == "1"

    def pull(self, name: str, is_high: bool) -> None:
        """Set the level of an input."""
        (self._line(name) / "pull").write_text("pull-up" if is_high else "pull-down")

    def _line(self, name: str) -> Path:
        return self._sysfs / f"sim_gpio{self.numbers[name]}"

    def close(self) -> None:
        (self._device / "live").write_text("0")
        for folder in self._folders:
            folder.rmdir()
