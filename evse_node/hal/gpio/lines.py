"""Lines of a GPIO character device, through the kernel's second line interface.

Direction and value are set in one request, so that an output never has another level in
between; a line has one owner, and a second request fails with EBUSY.

Importing this module needs the package gpiod: see `linux.load_lines`.
"""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

import gpiod
from gpiod.line import Bias as LineBias
from gpiod.line import Direction, Value
from gpiod.line import Edge as LineEdge

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import Edge
from evse_node.hal.gpio.specs import Bias, LineSpec

_DEVICES: Final = "/dev/gpiochip*"
_CONSUMER: Final = "evse-node"
_BIAS: Final = {
    Bias.AS_IS: LineBias.AS_IS,
    Bias.DISABLED: LineBias.DISABLED,
    Bias.PULL_UP: LineBias.PULL_UP,
    Bias.PULL_DOWN: LineBias.PULL_DOWN,
}


_Config: TypeAlias = dict[Iterable[int | str] | int | str, gpiod.LineSettings | None]


class FoundLine(NamedTuple):
    """A line of this machine. `consumer` is its owner, "" for none."""

    chip_path: str
    chip_label: str
    offset: int
    name: str
    consumer: str


def find_line(spec: LineSpec) -> FoundLine:
    """Find a line by label and name or number. Raises HalError that lists the chips."""
    labels: dict[str, str] = {}
    for path in sorted(glob.glob(_DEVICES)):
        if os.path.islink(path):
            continue
        try:
            with gpiod.Chip(path) as chip:
                labels.setdefault(chip.get_info().label, path)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise HalError(f"{path}: permission denied: add the user to group gpio") from None
    label = next((label for label in spec.chips if label in labels), None)
    if label is None:
        there = ", ".join(sorted(labels)) or "none"
        raise HalError(f"no GPIO chip with label {' or '.join(spec.chips)}; found: {there}")
    with gpiod.Chip(labels[label]) as chip:
        try:
            offset = chip.line_offset_from_id(spec.line)
            info = chip.get_line_info(offset)
        except (OSError, ValueError):
            raise HalError(f"the chip {label} has no line {spec.line!r}") from None
    consumer = info.consumer if info.used else ""
    return FoundLine(labels[label], label, offset, info.name, consumer)


class GpioOutput:
    """An output line in a request of its own, so that it can be released alone.

    Two threads that drive it at the same time may set each other's value, as with inputs.
    `ContactorDriver` allows for that: after closing it checks for an opening, and opens again.
    """

    def __init__(self, name: str, spec: LineSpec) -> None:
        settings = _settings(spec)
        settings.direction = Direction.OUTPUT
        settings.output_value = Value.INACTIVE
        found = find_line(spec)
        self._offset = found.offset
        self._on, self._off = Value.ACTIVE, Value.INACTIVE
        self._request: gpiod.LineRequest | None = _request(found, {found.offset: settings}, name)

    def set(self, is_active: bool) -> None:
        request = self._request
        if request is None:
            raise HalError("the line was released")
        request.set_value(self._offset, self._on if is_active else self._off)

    def close(self) -> None:
        """Release the line. Its level then depends on the pin controller."""
        request, self._request = self._request, None
        if request is not None:
            request.release()


class GpioInputs:
    """Input lines with events for both edges, each in a request of its own.

    gpiod reads into a buffer of the request: two threads that read different lines of one
    request would get each other's values.
    """

    def __init__(self, specs: Mapping[str, LineSpec]) -> None:
        self._lines: dict[str, tuple[gpiod.LineRequest, int]] = {}
        try:
            for name, spec in specs.items():
                self._lines[name] = self._open(name, spec)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, spec: LineSpec) -> tuple[gpiod.LineRequest, int]:
        found = find_line(spec)
        settings = _settings(spec)
        settings.direction = Direction.INPUT
        settings.edge_detection = LineEdge.BOTH
        settings.debounce_period = timedelta(milliseconds=spec.debounce_ms)
        return _request(found, {found.offset: settings}, name), found.offset

    def filenos(self) -> list[int]:
        return [request.fd for request, _ in self._lines.values()]

    def read_edges(self) -> Iterable[Edge]:
        """Return pending edges. With active low, a falling level is a rising edge."""
        for name, (request, _) in self._lines.items():
            if request.wait_edge_events(0):
                for event in request.read_edge_events():
                    is_active = event.event_type is gpiod.EdgeEvent.Type.RISING_EDGE
                    yield Edge(name, is_active, event.timestamp_ns)

    def is_active(self, name: str) -> bool:
        request, offset = self._lines[name]
        return request.get_value(offset) is Value.ACTIVE

    def close(self) -> None:
        lines, self._lines = self._lines, {}
        for request, _ in lines.values():
            request.release()


def _settings(spec: LineSpec) -> gpiod.LineSettings:
    settings = gpiod.LineSettings()
    settings.active_low = spec.is_active_low
    settings.bias = _BIAS[spec.bias]
    return settings


def _request(found: FoundLine, config: _Config, name: str) -> gpiod.LineRequest:
    try:
        return gpiod.request_lines(found.chip_path, consumer=_CONSUMER, config=config)
    except OSError as error:
        reason = error.strerror
        if error.errno == errno.EBUSY:
            owner = f" by '{found.consumer}'" if found.consumer else ""
            reason = f"in use{owner}"
        raise HalError(
            f"{name}: the line cannot be requested from {found.chip_label}: {reason}"
        ) from (None)
