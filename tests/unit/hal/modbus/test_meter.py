from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from evse_node.config.reading import load_toml
from evse_node.errors import ConfigError, HalError
from evse_node.hal.gpio.meters import PolledMeter, PulseMeter
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.hal.modbus import meter as modbus_meter
from evse_node.hal.modbus.connection import ModbusKeys, ModbusSpec
from evse_node.hal.modbus.meter import ModbusMeter, load_map, map_names, open_modbus_meter
from evse_node.units import MilliwattHours, Milliwatts
from tests.support.hal.modbus_evse_models import Controller
from tests.support.hal.modbus_evse_peer import Peer


class Registers:
    """A meter's registers; a read of one that is not there is refused."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.reads: list[tuple[int, int, int]] = []
        self.closed = 0

    def put(self, address: int, layout: str, value: float, *, swapped: bool = False) -> None:
        high, low = struct.unpack(">HH", struct.pack(layout, value))
        self.words[address], self.words[address + 1] = (low, high) if swapped else (high, low)

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        self.reads.append((function, address, count))
        return [self.words.get(each, 0) for each in range(address, address + count)]

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("name", ["sdm630", "sdm72"])
def test_float_map_reads_three_phases(name: str) -> None:
    registers = Registers()
    for address, value in {
        0x00: 230.1, 0x02: 231.2, 0x04: 229.9, 0x06: 16.0, 0x08: 15.9, 0x0A: 0.0,
        0x34: 7340.5, 0x46: 50.02, 0x48: 1234.567, 0x4A: 0.5,
    }.items():  # fmt: skip
        registers.put(address, ">f", value)
    values = ModbusMeter(registers, load_map(name)).read()
    assert values.power_mw == 7_340_500
    assert values.imported_mwh == pytest.approx(1_234_567_000, abs=100_000)
    assert values.exported_mwh == 500_000
    assert values.voltages_mv == (230_100, 231_200, 229_900)
    assert values.currents_ma == (16_000, 15_900, 0)
    assert values.frequency_millihertz == pytest.approx(50_020, abs=1)
    assert len(registers.reads) == 2
    assert {function for function, _, _ in registers.reads} == {4}


def test_float_map_reads_one_phase() -> None:
    registers = Registers()
    registers.put(0x0C, ">f", -1500.0)
    registers.put(0x00, ">f", 230.0)
    values = ModbusMeter(registers, load_map("sdm230")).read()
    assert (values.power_mw, values.voltages_mv) == (-1_500_000, (230_000,))


def test_integer_map_reads_low_word_first() -> None:
    registers = Registers()
    registers.put(0x28, ">i", -15_000, swapped=True)
    registers.put(0x34, ">i", 98_765, swapped=True)
    registers.put(0x0C, ">i", 16_001, swapped=True)
    values = ModbusMeter(registers, load_map("em340")).read()
    assert values.power_mw == -1_500_000
    assert values.imported_mwh == 9_876_500_000
    assert values.currents_ma[0] == 16_001
    assert values.frequency_millihertz is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_invalid_float_raises_error(value: float) -> None:
    registers = Registers()
    registers.put(0x0C, ">f", value)
    with pytest.raises(HalError, match="the meter reports"):
        ModbusMeter(registers, load_map("sdm230")).read()


def test_short_response_raises_error() -> None:
    class Short(Registers):
        def read(self, function: int, address: int, count: int) -> Sequence[int]:
            return [0]

    with pytest.raises(HalError, match="returned 1 registers"):
        ModbusMeter(Short(), load_map("sdm230")).read()


@pytest.mark.parametrize("is_shared", [False, True])
def test_shared_port_is_closed_after_read(is_shared: bool) -> None:
    registers = Registers()
    meter = ModbusMeter(registers, load_map("sdm230"), is_port_shared=is_shared)
    meter.read()
    assert registers.closed == is_shared
    registers.put(0x0C, ">f", float("nan"))
    with pytest.raises(HalError):
        meter.read()
    assert registers.closed == 2 * is_shared


def test_invalid_map_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    text = 'name = "x"\nfunction = 5\nformat = "int32"\n[values]\n'
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"own\.toml: function: 5 cannot be used"):
        load_map(str(file))
    file.write_text(text.replace("5", "3"))
    with pytest.raises(ConfigError, match=r"own\.toml: values\.power-w is missing"):
        load_map(str(file))
    with pytest.raises(ConfigError, match="is no file: give one, or one of em340"):
        load_map("unknown")
    assert map_names() == ["em340", "sdm230", "sdm630", "sdm72"]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("", "port is missing: give a serial port like /dev/ttyUSB0, or a host"),
        ("port = 502", "port: 502 cannot be used: give a serial port"),
        ('port = ""', "port: '' cannot be used: give a serial port"),
        ('host = ""', "host: '' cannot be used"),
        ('host = "h"\nport = "/dev/a"', "port: '/dev/a' cannot be used: give 1 to 65535"),
        ('host = "h"\nport = 0', "port: 0 cannot be used: give 1 to 65535"),
        ('host = "h"\nbaud = 9600', "baud: no such key beside host"),
        ('port = "a"\nunit = 248', "unit: 248 cannot be used: give 1 to 247"),
        ('port = "a"\nparity = "X"', "parity: 'X' cannot be used: give one of E, N, O"),
    ],
)
def test_invalid_connection_is_reported(tmp_path: Path, keys: str, complaint: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(keys)
    with pytest.raises(ConfigError) as caught:
        load_toml(file, ModbusKeys)
    assert complaint in str(caught.value)


def test_connection_keys_take_defaults() -> None:
    usual = ModbusSpec(baud=19_200, parity="E", tcp_port=1502, unit=7)
    serial = ModbusKeys(port="/dev/a", parity="O")
    assert serial.modbus_spec(usual) == ModbusSpec("/dev/a", 19_200, "O", unit=7)
    assert ModbusKeys(host="h").modbus_spec(usual) == ModbusSpec(host="h", tcp_port=1502, unit=7)
    assert ModbusKeys(host="h", port=9).modbus_spec() == ModbusSpec(host="h", tcp_port=9)


class Source:
    imported = 1_000
    failure: Exception | None = None

    def read(self) -> MeterValues:
        if self.failure is not None:
            raise self.failure
        return MeterValues(MilliwattHours(self.imported), MilliwattHours(0), Milliwatts(0), (), ())

    def close(self) -> None:
        pass


def test_polled_meter_is_lost_after_limit() -> None:
    now, source = [0.0], Source()
    meter = PolledMeter(source, 5, lambda: now[0])
    with pytest.raises(HalError, match="no answer yet"):
        meter.read()
    meter.poll()
    assert meter.read().imported_mwh == 1_000
    source.failure = OSError("silence")
    now[0] = 5.0
    meter.poll()
    assert not meter.is_lost(now[0])
    now[0] = 5.1
    with pytest.raises(HalError, match="silence"):
        meter.read()


def test_decreasing_total_is_passed_on_to_the_charger() -> None:
    """`charger.meter_filter` judges it; a meter that was exchanged is not lost."""
    now, source = [0.0], Source()
    meter = PolledMeter(source, 5, lambda: now[0])
    meter.poll()
    source.imported = 10
    now[0] = 6.0
    meter.poll()
    assert meter.read().imported_mwh == 10
    assert not meter.is_lost(now[0])


@pytest.mark.parametrize("word", [0x7FFFFFFF, 0xFFFFFFFF])
def test_em340_word_of_unavailable_value_is_no_reading(word: int) -> None:
    registers = Registers()
    registers.put(0x0C, ">I", word, swapped=True)
    with pytest.raises(HalError, match="no value in register 0x000C"):
        ModbusMeter(registers, load_map("em340")).read()


def test_pulse_meter_counts_energy_and_power() -> None:
    now = [100.0]
    meter = PulseMeter(1_000, Ratings(phases=1), lambda: now[0])
    assert meter.read().power_mw == 0
    for second in range(11):
        now[0] = 100.0 + second
        meter.on_pulse(second * 1_000_000_000)
    values = meter.read()
    assert values.imported_mwh == 11_000
    assert values.power_mw == 3_600_000
    assert values.currents_ma == (15_652,)
    now[0] += 4
    assert meter.read().power_mw == 900_000
    now[0] += 60
    assert meter.read().power_mw == 0


class Sdm230(Controller):
    """A meter on a serial line."""

    unit = 7

    def read(self, table: str, address: int) -> int | None:
        values = {0x00: 230.0, 0x06: 10.0, 0x0C: 2300.0, 0x46: 50.0, 0x48: 12.5}
        words = struct.unpack(">HH", struct.pack(">f", values.get(address & ~1, 0.0)))
        return words[address & 1] if table == "input" and address < 0x60 else None


async def test_meter_is_read_over_modbus_rtu() -> None:
    """Against pymodbus's own server at the other end of a serial line."""
    peer = Peer(Sdm230())
    await peer.serve_rtu()
    modbus = ModbusSpec(port=str(peer.port), unit=7)
    meter = open_modbus_meter(modbus, "sdm230")
    try:
        values = await asyncio.to_thread(meter.read)
        assert (values.power_mw, values.imported_mwh) == (2_300_000, 12_500_000)
        assert (values.voltages_mv, values.currents_ma) == ((230_000,), (10_000,))
        assert values.frequency_millihertz == 50_000
    finally:
        meter.close()
        await peer.close()


@pytest.mark.parametrize("fault", ["silent", "garbage", "bad_crc", "half"])
async def test_meter_recovers_from_serial_line_fault(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus_meter, "_TIMEOUT_S", 0.15)
    peer = Peer(Sdm230())
    await peer.serve_rtu()
    meter = open_modbus_meter(ModbusSpec(port=str(peer.port), unit=7), "sdm230")
    try:
        await asyncio.to_thread(meter.read)
        setattr(peer.faults, fault, 1)
        with pytest.raises(HalError, match="unit 7 on /dev/"):
            await asyncio.to_thread(meter.read)
        values = await asyncio.to_thread(meter.read)
        assert values.power_mw == 2_300_000
    finally:
        meter.close()
        await peer.close()


async def test_missing_serial_port_raises_error() -> None:
    meter = open_modbus_meter(ModbusSpec(port="/dev/no-such-port"), "sdm230")
    with pytest.raises(HalError, match="/dev/no-such-port cannot be opened"):
        await asyncio.to_thread(meter.read)
    meter.close()


async def test_meter_is_read_over_modbus_tcp() -> None:
    """Against pymodbus's own server on loopback."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    words = [0] * 0x60
    for address, value in {0x00: 230.0, 0x06: 10.0, 0x0C: 2300.0, 0x48: 12.5}.items():
        words[address : address + 2] = struct.unpack(">HH", struct.pack(">f", value))
    data = SimData(0, values=words, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(7, simdata=[data]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    port = server.transport.sockets[0].getsockname()[1]
    modbus = ModbusSpec(host="127.0.0.1", tcp_port=port, unit=7)
    meter = open_modbus_meter(modbus, "sdm230")
    values = await asyncio.to_thread(meter.read)
    assert (values.power_mw, values.imported_mwh) == (2_300_000, 12_500_000)
    await server.shutdown()
    with pytest.raises((HalError, OSError)):
        await asyncio.to_thread(meter.read)
    meter.close()
