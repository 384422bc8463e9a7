"""Thermometers of a board: valid and invalid readings, and the loss of a sensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.charger import Charger
from evse_node.cli.doctor import examine, wiring
from evse_node.errors import ConfigError, HalError
from evse_node.hal.gpio.board import load_board
from evse_node.hal.gpio.specs import Ds18b20Spec, HwmonSpec, Lm75Spec, TemperatureSpec, Tmp102Spec
from evse_node.hal.gpio.thermometers import (
    Ds18b20,
    I2cThermometer,
    KernelThermometer,
    PolledThermometer,
    find_hwmon,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.testing.memory_store import MemoryStore
from tests.contract.gpio_bench import GpioBench
from tests.unit.hal.gpio.test_board import SMALL
from tests.unit.hal.gpio.test_faults import Charging


@pytest.fixture
def w1(tmp_path: Path) -> Path:
    for name in ("28-0316a2793caf", "w1_bus_master1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "temperature").write_text("31437\n")
    return tmp_path


class TestDs18b20:
    def test_single_sensor_needs_no_id(self, w1: Path) -> None:
        assert Ds18b20("", w1).read() == 31_437

    def test_sensor_is_selected_by_id(self, w1: Path) -> None:
        other = w1 / "28-000000000002"
        other.mkdir()
        (other / "temperature").write_text("-1250\n")
        assert Ds18b20("28-000000000002", w1).read() == -1_250
        with pytest.raises(HalError, match="no DS18B20 'single one'; found: 28-0000"):
            Ds18b20("", w1).read()
        with pytest.raises(HalError, match="no DS18B20 '28-1'"):
            Ds18b20("28-1", w1).read()

    @pytest.mark.parametrize("text", ["", "warm", "31.4"])
    def test_invalid_text_raises_error(self, w1: Path, text: str) -> None:
        (w1 / "28-0316a2793caf" / "temperature").write_text(text)
        with pytest.raises(HalError, match="holds"):
            Ds18b20("", w1).read()

    def test_unplugged_sensor_raises_error(self, w1: Path) -> None:
        sensor = Ds18b20("", w1)
        (w1 / "28-0316a2793caf" / "temperature").unlink()
        with pytest.raises(HalError, match="No such file"):
            sensor.read()

    def test_85_degrees_after_power_on_raise_error(self, w1: Path) -> None:
        file = w1 / "28-0316a2793caf" / "temperature"
        sensor = Ds18b20("", w1)
        for text, is_valid in (("85000", False), ("30000", True), ("85000", False)):
            file.write_text(text)
            if is_valid:
                assert sensor.read() == int(text)
            else:
                with pytest.raises(HalError, match="power-on"):
                    sensor.read()
        for text in ("81000", "84500", "85000", "86000"):
            file.write_text(text)
            assert sensor.read() == int(text)


def test_hwmon_input_is_read(tmp_path: Path) -> None:
    for number, name in enumerate(("cpu_thermal", "lm75")):
        chip = tmp_path / f"hwmon{number}"
        chip.mkdir()
        (chip / "name").write_text(f"{name}\n")
        (chip / "temp1_input").write_text(f"{40 + number}000\n")
    assert KernelThermometer(lambda: find_hwmon("lm75", 1, tmp_path)).read() == 41_000
    with pytest.raises(HalError, match="temp2_input"):
        KernelThermometer(lambda: find_hwmon("lm75", 2, tmp_path)).read()
    with pytest.raises(HalError, match="no hwmon chip 'tmp102'; found: cpu_thermal, lm75"):
        find_hwmon("tmp102", 1, tmp_path)


class I2c:
    def __init__(self, *answer: int) -> None:
        self.answer = list(answer)
        self.asked: list[tuple[int, int, int]] = []

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        self.asked.append((address, register, length))
        return self.answer

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


# From the tables of the data sheets.
@pytest.mark.parametrize(
    ("kind", "answer", "temperature_mc"),
    [
        (Tmp102Spec, (0x19, 0x00), 25_000),
        (Tmp102Spec, (0x00, 0x40), 250),
        (Tmp102Spec, (0xE7, 0x00), -25_000),
        (Tmp102Spec, (0x4B, 0x0F), 75_000),
        (Lm75Spec, (0x7D, 0x00), 125_000),
        (Lm75Spec, (0x19, 0x7F), 25_000),
        (Lm75Spec, (0x00, 0x80), 500),
        (Lm75Spec, (0xFF, 0x80), -500),
        (Lm75Spec, (0xC9, 0x00), -55_000),
    ],
)
def test_i2c_thermometer_decodes_register(
    kind: type[Tmp102Spec | Lm75Spec], answer: tuple[int, int], temperature_mc: int
) -> None:
    bus = I2c(*answer)
    assert I2cThermometer(bus, kind(address=0x4A)).read() == temperature_mc
    assert bus.asked == [(0x4A, 0, 2)]


class Source:
    def __init__(self) -> None:
        self.answer: int | Exception = 20_000

    def read(self) -> int:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize("answer", [OSError(5, "gone"), ZeroDivisionError(), 126_000, -55_063])
def test_invalid_temperature_is_no_answer(answer: int | Exception) -> None:
    now = 0.0
    source = Source()
    sensor = PolledThermometer(source, 10, lambda: now)
    with pytest.raises(HalError, match="no answer yet"):
        sensor.read_millicelsius()
    sensor.poll()
    source.answer = answer
    now = 9.0
    sensor.poll()
    assert sensor.read_millicelsius() == 20_000
    now = 10.5
    with pytest.raises(HalError, match="does not answer"):
        sensor.read_millicelsius()
    source.answer = 21_000
    sensor.poll()
    assert sensor.read_millicelsius() == 21_000


def load(tmp_path: Path, text: str) -> TemperatureSpec | None:
    file = tmp_path / "board.toml"
    file.write_text(f"{SMALL}[temperature]\n{text}\n")
    return load_board(str(file)).temperature


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ('kind = "ds18b20"', Ds18b20Spec()),
        (
            'kind = "hwmon"\nname = "lm75"\ninput = 2',
            HwmonSpec("lm75", 2),
        ),
        (
            'kind = "tmp102"\naddress = 0x49\nlimit-s = 5',
            Tmp102Spec(address=0x49, limit_s=5),
        ),
    ],
)
def test_thermometer_table_is_read(tmp_path: Path, text: str, spec: TemperatureSpec) -> None:
    assert load(tmp_path, text) == spec


@pytest.mark.parametrize(
    "text", ['kind = "mercury"', 'kind = "hwmon"', 'kind = "lm75"\nid = "28-1"', ""]
)
def test_invalid_thermometer_table_is_reported(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"board.toml: temperature\."):
        load(tmp_path, text)


def offered(bench: Charging) -> int:
    return bench.charger.state.outputs.offered_ma


class TestCharging:
    def test_heat_derates_then_stops_charging(self) -> None:
        bench = Charging()
        assert offered(bench) == 16_000
        bench.electronics.temperature_mc = 78_000
        bench.wait(8)
        assert offered(bench) == 9_000
        assert bench.is_powered()
        bench.electronics.temperature_mc = 86_000
        bench.wait(3)
        assert bench.charger.state.fault is FaultState.OVER_TEMPERATURE
        assert not bench.is_powered()
        bench.electronics.temperature_mc = 30_000
        bench.wait(6)
        assert bench.charger.state.fault is FaultState.NO_ERROR
        assert bench.is_powered()

    @pytest.mark.parametrize("trouble", ["raises", "absurd"])
    def test_lost_thermometer_limits_current_to_6_a(self, trouble: str) -> None:
        bench = Charging()
        if trouble == "raises":
            bench.electronics.failing.add("temperature")
        else:
            bench.electronics.temperature_mc = -300_000
        bench.wait(9)
        assert offered(bench) == 16_000
        bench.wait(7)
        assert offered(bench) == 6_000
        assert bench.is_powered()
        assert bench.charger.state.fault is FaultState.NO_ERROR
        bench.electronics.failing.clear()
        bench.electronics.temperature_mc = 30_000
        bench.wait(8)
        assert offered(bench) == 16_000

    def test_thermometer_lost_in_heat_keeps_fault(self) -> None:
        bench = Charging()
        bench.electronics.temperature_mc = 86_000
        bench.wait(3)
        bench.electronics.failing.add("temperature")
        bench.wait(20)
        assert bench.charger.state.fault is FaultState.OVER_TEMPERATURE
        assert not bench.is_powered()

    def test_thermometer_is_read_before_start(self) -> None:
        bench = GpioBench()
        charger = Charger(bench.backend, MemoryStore(), now=bench.now)
        assert charger.state.charge_limits.claim(LimitSource.TEMPERATURE) is None
        assert bench.electronics.open_count == 0


def test_doctor_shows_temperature() -> None:
    bench = GpioBench()
    found = {check.part: check for check in examine(bench.board, bench.electronics)}
    assert found["thermometer"].is_fine
    assert found["thermometer"].text == "shows 31.5 degrees Celsius"
    assert ("thermometer ds18b20", "1-Wire", "") in wiring(bench.board)
    bench.electronics.failing.add("temperature")
    found = {check.part: check for check in examine(bench.board, bench.electronics)}
    assert not found["thermometer"].is_fine
    assert bench.electronics.open_count == 0
