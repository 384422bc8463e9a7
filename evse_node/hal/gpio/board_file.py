"""A board's TOML file into a `Board`. `docs/raspberry-pi.md` explains the keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from evse_node.errors import ConfigError
from evse_node.hal.gpio.board import (
    AdcKind,
    AdcSpec,
    Bias,
    Board,
    ButtonAction,
    ButtonSpec,
    Calibration,
    ChannelSpec,
    ContactorSpec,
    HeartbeatSpec,
    LineSpec,
    LockSpec,
    MeterSpec,
    PilotInputSpec,
    ProximityInputSpec,
    PwmSpec,
    RcdSpec,
    RfidKind,
    RfidSpec,
    TemperatureKind,
    TemperatureSpec,
    WatchdogSpec,
)
from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.connection import read_modbus
from evse_node.hal.toml_table import TomlTable, load_toml
from evse_node.units import Milliamps, Millivolts

BOARDS: Final = Path(__file__).parent / "boards"
"""The boards that are shipped."""

# The pin controllers of the Pi 5, the Pi 4, and the Pi 2 and 3.
_PI_CHIPS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
_CHANNELS: Final = {AdcKind.MCP3008: 8, AdcKind.MCP3208: 8, AdcKind.ADS1115: 4, AdcKind.ADS1015: 4}


def board_names() -> list[str]:
    """Return the names of the shipped boards."""
    return sorted(file.stem for file in BOARDS.glob("*.toml"))


def load_board(name: str) -> Board:
    """Read a board: one that is shipped, by name, or any other, by its file.

    Raises ConfigError with one line: file, key, value, what would be right.
    """
    file = BOARDS / f"{name}.toml" if name in board_names() else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"board: '{name}' is no file: give one, or one of {', '.join(board_names())}"
        )
    return _board(load_toml(file))


def _board(top: TomlTable) -> Board:
    name = top.text("name")
    chips = top.words("chip", _PI_CHIPS)
    adc = _adc(top.table("adc"))
    pilot_table = top.table("pilot")
    pwm = PwmSpec(
        pilot_table.words("pwm-device"),
        pilot_table.whole("pwm-channel", 0, 63),
        pilot_table.flag("is-inverted", False),
    )
    pilot = _pilot_input(pilot_table, adc)
    pilot_table.finish()
    stop = top.optional_table("emergency-stop")
    led = top.optional_table("led")
    contactor = top.table("contactor")
    timeout_s = contactor.whole("timeout-ms", 50, 10_000, 500) / 1000
    meter = _meter(top.optional_table("meter"), chips)
    grid_meter = _grid_meter(top.optional_table("grid-meter"))
    if meter is not None and grid_meter is not None and _has_same_port(meter, grid_meter):
        meter = replace(meter, is_port_shared=True)
        grid_meter = replace(grid_meter, is_port_shared=True)
    board = Board(
        name=name,
        ratings=_ratings(top.optional_table("ratings"), timeout_s),
        contactor=_contactor(contactor, chips),
        pwm=pwm,
        adc=adc,
        pilot=pilot,
        proximity=_proximity(top.optional_table("proximity"), adc),
        rcd=_rcd(top.optional_table("rcd"), chips),
        heartbeat=_heartbeat(top.optional_table("heartbeat"), chips),
        emergency_stop=None if stop is None else _line(stop, chips),
        lock=_lock(top.optional_table("lock"), chips),
        buttons=tuple(_buttons(top, chips)),
        led=None if led is None else _line(led, chips),
        meter=meter,
        grid_meter=grid_meter,
        rfid=_rfid(top.optional_table("rfid")),
        temperature=_temperature(top.optional_table("temperature")),
        watchdog=_watchdog(top.optional_table("watchdog")),
    )
    top.finish()
    _check_lines(top, board)
    _check_buses(top, board)
    return board


def _line(table: TomlTable, chips: tuple[str, ...]) -> LineSpec:
    right = "the line's name, like 'GPIO17', or its number"
    line = table.take("line", None, right)
    if isinstance(line, bool) or not isinstance(line, str | int) or line == "":
        raise table.wrong("line", line, right)
    spec = LineSpec(
        line,
        table.words("chip", chips),
        table.one_of("active", ("high", "low"), "high") == "low",
        Bias(table.one_of("bias", tuple(bias.value for bias in Bias), Bias.AS_IS.value)),
        table.whole("debounce-ms", 0, 1_000, 0),
    )
    table.finish()
    return spec


def _optional_line(table: TomlTable, key: str, chips: tuple[str, ...]) -> LineSpec | None:
    found = table.optional_table(key)
    return None if found is None else _line(found, chips)


def _check_lines(top: TomlTable, board: Board) -> None:
    seen: dict[tuple[str | int, tuple[str, ...]], str] = {}
    for purpose, spec in (*board.outputs().items(), *board.inputs().items()):
        other = seen.setdefault((spec.line, spec.chips), purpose)
        if other != purpose:
            raise ConfigError(
                f"{top.file}: line {spec.line!r} is wired twice: {other}, and {purpose}"
            )


def _check_buses(top: TomlTable, board: Board) -> None:
    """Refuse two parts at one address: each would read the other's answers."""
    seen: dict[tuple[str, int, int], str] = {}

    def note(part: str, kind: str, bus: int, address: int) -> None:
        other = seen.setdefault((kind, bus, address), part)
        if other != part:
            at = f"address 0x{address:02x}" if kind == "i2c" else f"chip select {address}"
            raise ConfigError(f"{top.file}: {other} and {part} are both at {at} of {kind} {bus}")

    adc, rfid, thermometer = board.adc, board.rfid, board.temperature
    note("adc", "i2c" if adc.kind.is_on_i2c else "spi", adc.bus, adc.address)
    if rfid is not None and rfid.kind is not RfidKind.PN532_UART:
        note("rfid", "spi" if rfid.kind is RfidKind.MFRC522 else "i2c", rfid.bus, rfid.address)
    if thermometer is not None and thermometer.kind in (
        TemperatureKind.TMP102,
        TemperatureKind.LM75,
    ):
        note("temperature", "i2c", thermometer.bus, thermometer.address)


def _ratings(table: TomlTable | None, contactor_timeout_s: float) -> Ratings:
    if table is None:
        return Ratings(contactor_timeout_s=contactor_timeout_s)
    ratings = Ratings(
        maximum_current_ma=Milliamps(round(table.number("maximum-current-a", 6, 80, 32) * 1000)),
        phases=table.whole("phases", 1, 3, 1),
        nominal_voltage_mv=Millivolts(round(table.number("nominal-v", 100, 500, 230) * 1000)),
        contactor_timeout_s=contactor_timeout_s,
    )
    table.finish()
    return ratings


def _contactor(table: TomlTable, chips: tuple[str, ...]) -> ContactorSpec:
    outputs = [_line(table.table("output"), chips)]
    feedbacks = [_optional_line(table, "feedback", chips)]
    second = _optional_line(table, "second-output", chips)
    if second is not None:
        outputs.append(second)
        feedbacks.append(_optional_line(table, "second-feedback", chips))
    table.finish()
    return ContactorSpec(tuple(outputs), tuple(line for line in feedbacks if line is not None))


def _heartbeat(table: TomlTable | None, chips: tuple[str, ...]) -> HeartbeatSpec | None:
    if table is None:
        return None
    interval_ms = table.number("interval-ms", 0.5, 1_000, 2)
    limit_ms = table.number("limit-ms", 1, 10_000, 10)
    is_always = table.one_of("while", ("closed", "always"), "closed") == "always"
    if limit_ms < 2 * interval_ms:
        raise table.wrong("limit-ms", limit_ms, "twice the interval at least")
    return HeartbeatSpec(_line(table, chips), interval_ms, limit_ms, is_always)


def _rcd(table: TomlTable | None, chips: tuple[str, ...]) -> RcdSpec | None:
    if table is None:
        return None
    spec = RcdSpec(_line(table.table("trip"), chips))
    test, reset = _optional_line(table, "test", chips), _optional_line(table, "reset", chips)
    if test is not None:
        spec = replace(
            spec,
            test=test,
            test_hz=table.whole("test-hz", 0, 200, 0),
            is_tested_on_demand=table.flag("test-on-demand", False),
        )
    if reset is not None:
        spec = replace(spec, reset=reset, reset_ms=table.whole("reset-ms", 10, 1_000, 100))
    table.finish()
    return spec


def _adc(table: TomlTable) -> AdcSpec:
    kind = AdcKind(table.one_of("kind", tuple(kind.value for kind in AdcKind)))
    if kind.is_on_i2c:
        spec = AdcSpec(kind, table.whole("bus", 0, 99, 1), table.whole("address", 3, 0x77, 0x48))
    else:
        spec = AdcSpec(
            kind,
            table.whole("bus", 0, 99, 0),
            table.whole("chip-select", 0, 9, 0),
            table.whole("speed-hz", 10_000, 4_000_000, 1_000_000),
        )
    table.finish()
    return spec


def _channel(table: TomlTable, adc: AdcSpec, prefix: str = "") -> ChannelSpec:
    channel = table.whole(f"{prefix}channel", 0, _CHANNELS[adc.kind] - 1)
    key = f"{prefix}calibration"
    points = table.pairs(key)
    if len(points) != 2 or points[0][0] == points[1][0] or points[0][1] == points[1][1]:
        raise table.wrong(key, points, "two different points [raw, millivolts]")
    (raw_1, mv_1), (raw_2, mv_2) = points
    return ChannelSpec(channel, Calibration(raw_1, mv_1, raw_2, mv_2))


def _pilot_input(table: TomlTable, adc: AdcSpec) -> PilotInputSpec:
    high = _channel(table, adc)
    if table.has("low-channel"):
        return PilotInputSpec(high, _channel(table, adc, "low-"), 1)
    if adc.kind.is_on_i2c:
        raise ConfigError(
            f"{table.where('low-channel')} is missing: an {adc.kind.value} is too slow to catch "
            "both levels of the pilot, give the channels of two peak detectors"
        )
    return PilotInputSpec(high, None, table.whole("samples", 16, 200, 48))


def _proximity(table: TomlTable | None, adc: AdcSpec) -> ProximityInputSpec | None:
    if table is None:
        return None
    spec = ProximityInputSpec(
        _channel(table, adc),
        table.whole("supply-mv", 1_000, 24_000, 5_000),
        table.whole("pull-up-ohm", 100, 100_000, 1_000),
    )
    table.finish()
    return spec


def _lock(table: TomlTable | None, chips: tuple[str, ...]) -> LockSpec | None:
    if table is None:
        return None
    spec = LockSpec(
        _line(table.table("output"), chips),
        _optional_line(table, "unlock-output", chips),
        _optional_line(table, "feedback", chips),
        table.whole("pulse-ms", 50, 5_000, 600),
    )
    table.finish()
    return spec


def _buttons(top: TomlTable, chips: tuple[str, ...]) -> Iterator[ButtonSpec]:
    for table in top.tables("button"):
        action = ButtonAction(table.one_of("action", tuple(each.value for each in ButtonAction)))
        uid = b""
        if action is ButtonAction.CARD:
            right = "1 to 10 bytes in hexadecimal"
            text = table.text("uid", right=right)
            try:
                uid = bytes.fromhex(text)
            except ValueError:
                raise table.wrong("uid", text, right) from None
            if not 1 <= len(uid) <= 10:
                raise table.wrong("uid", text, right)
        yield ButtonSpec(_line(table, chips), action, uid)


def _meter(table: TomlTable | None, chips: tuple[str, ...]) -> MeterSpec | None:
    if table is None:
        return None
    limit_s = table.number("limit-s", 1, 60, 5)
    pulse = _optional_line(table, "pulse", chips)
    if pulse is not None:
        spec = MeterSpec(
            pulse=pulse,
            pulses_per_kwh=table.whole("pulses-per-kwh", 1, 100_000),
            limit_s=limit_s,
        )
    else:
        map_name = table.text("map", right="a register map's name or file, or a pulse line")
        spec = MeterSpec(map_name, read_modbus(table), limit_s=limit_s)
    table.finish()
    return spec


def _grid_meter(table: TomlTable | None) -> MeterSpec | None:
    if table is None:
        return None
    map_name = table.text("map", right="a register map's name or file")
    spec = MeterSpec(map_name, read_modbus(table), limit_s=table.number("limit-s", 1, 60, 5))
    table.finish()
    return spec


def _has_same_port(one: MeterSpec, other: MeterSpec) -> bool:
    ports = [spec.modbus.port for spec in (one, other) if spec.modbus is not None]
    return len(ports) == 2 and ports[0] == ports[1] != ""


def _rfid(table: TomlTable | None) -> RfidSpec | None:
    if table is None:
        return None
    kind = RfidKind(table.one_of("kind", tuple(kind.value for kind in RfidKind)))
    match kind:
        case RfidKind.PN532_UART:
            spec = RfidSpec(kind, port=table.text("port", right="a serial port"))
        case RfidKind.PN532_I2C:
            spec = RfidSpec(
                kind, bus=table.whole("bus", 0, 99, 1), address=table.whole("address", 3, 119, 0x24)
            )
        case RfidKind.MFRC522:
            spec = RfidSpec(
                kind, bus=table.whole("bus", 0, 99, 0), address=table.whole("chip-select", 0, 9, 1)
            )
    table.finish()
    return spec


def _temperature(table: TomlTable | None) -> TemperatureSpec | None:
    if table is None:
        return None
    kind = TemperatureKind(table.one_of("kind", tuple(kind.value for kind in TemperatureKind)))
    limit_s = table.number("limit-s", 2, 60, 10)
    match kind:
        case TemperatureKind.DS18B20:
            spec = TemperatureSpec(kind, table.text("id", ""), limit_s=limit_s)
        case TemperatureKind.HWMON:
            name = table.text("name", right="what the chip's file `name` holds, like lm75")
            spec = TemperatureSpec(kind, name, table.whole("input", 0, 99, 1), limit_s=limit_s)
        case TemperatureKind.TMP102 | TemperatureKind.LM75:
            bus, address = table.whole("bus", 0, 99, 1), table.whole("address", 3, 0x77, 0x48)
            spec = TemperatureSpec(kind, bus=bus, address=address, limit_s=limit_s)
    table.finish()
    return spec


def _watchdog(table: TomlTable | None) -> WatchdogSpec | None:
    if table is None:
        return None
    spec = WatchdogSpec(table.text("device", "/dev/watchdog"), table.whole("timeout-s", 2, 60, 10))
    table.finish()
    return spec
