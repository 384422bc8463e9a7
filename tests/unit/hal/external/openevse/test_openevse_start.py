"""Start and options of the OpenEVSE backend."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from evse_node.errors import ConfigError, HalError
from evse_node.hal.external.openevse.link import OpenEvseLink, OpenEvseSettings
from evse_node.hal.external.openevse.options import create
from evse_node.hal.registry import create_backend
from evse_node.hal.serial_port import SerialPort
from evse_node.state_machine.events import ContactorReported, FaultCleared
from evse_node.state_machine.faults import FaultState
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import SLEEPING, C
from tests.unit.hal.external.openevse.openevse_helpers import OFFER, events_of


class TestStart:
    async def test_controller_sleeps_with_lowest_current(self, bench: OpenEvseBench) -> None:
        assert bench.model.state == SLEEPING
        assert bench.model.amperes == 6
        assert bench.model.heartbeat == [20, 6]
        assert bench.model.millivolts == 230_000

    async def test_charging_controller_is_opened_at_once(self) -> None:
        bench = OpenEvseBench()
        bench.model.car = C
        bench.runs_polls = False
        bench.wait(1)
        assert bench.is_powered()
        await bench.start()
        assert bench.model.log.index("FD") < bench.model.log.index("FS")
        assert not bench.is_powered()
        assert events_of(bench, ContactorReported) == [ContactorReported(False)]

    async def test_faults_of_earlier_run_are_cleared(self, bench: OpenEvseBench) -> None:
        gone = {event.fault for event in bench.events if isinstance(event, FaultCleared)}
        assert {FaultState.OTHER, FaultState.GROUND_FAULT, FaultState.CONTACT_WET_FAILURE} <= gone

    @pytest.mark.parametrize(
        ("prepare", "words"),
        [
            (lambda bench: setattr(bench.model, "has_ammeter", False), "meter = false"),
            (lambda bench: setattr(bench.model, "tenths_c", [-2560] * 3), "thermometer = false"),
            (lambda bench: setattr(bench.model, "is_mute", True), "no answer"),
            (lambda bench: setattr(bench.port, "is_missing", True), "no such device"),
        ],
    )
    async def test_missing_hardware_is_named(
        self, prepare: Callable[[OpenEvseBench], None], words: str
    ) -> None:
        bench = OpenEvseBench()
        bench.backend.timings = replace(bench.backend.timings, start_s=-1, reopen_s=0.01)
        prepare(bench)
        with pytest.raises(HalError, match=words):
            await bench.start()
        assert not bench.port.is_open

    async def test_controller_without_meter_and_thermometer_starts(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(has_meter=False, has_thermometer=False))
        bench.model.has_ammeter, bench.model.tenths_c = False, [-2560] * 3
        await bench.start()
        assert bench.backend.meter is None
        assert bench.backend.temperature_sensor is None

    async def test_orders_before_start_raise_or_do_nothing(self) -> None:
        backend = OpenEvseBench().backend
        with pytest.raises(HalError, match="not started"):
            backend.offer(OFFER)
        with pytest.raises(HalError, match="not started"):
            backend.contactor.close()
        backend.contactor.open()
        backend.withdraw()
        await backend.stop()

    async def test_meter_can_be_read_before_start(self) -> None:
        bench = OpenEvseBench()
        assert bench.backend.meter is not None
        assert bench.backend.meter.read().imported_mwh == 1_000_000
        assert not bench.port.is_open
        await bench.start()
        assert bench.backend.meter.read().imported_mwh == 1_000_000


class TestSettings:
    def test_all_options_are_read(self) -> None:
        backend = create(
            {
                "port": "/dev/ttyUSB0",
                "baud": 115_200,
                "maximum_current_a": 40,
                "phases": 1,
                "voltage-v": 240,
                "meter": False,
                "thermometer": False,
                "lock": True,
                "fallback-after-s": 10,
                "fallback-current-a": 8,
            }
        )
        assert backend.ratings.maximum_current_ma == 40_000
        assert backend.ratings.nominal_voltage_mv == 240_000
        assert backend.meter is None
        assert backend.temperature_sensor is None
        assert backend.lock is not None

    def test_backend_is_created_by_name(self) -> None:
        backend = create_backend("openevse", {"port": "/dev/ttyUSB0"})
        assert backend.meter is not None
        assert backend.ratings.maximum_current_ma == 32_000

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, r"hal\.port is missing: give a serial port"),
            ({"port": ""}, r"hal\.port"),
            ({"port": 3}, r"hal\.port"),
            ({"port": "x", "baud": "fast"}, r"hal\.baud"),
            ({"port": "x", "fallback-after-s": 66}, r"hal\.fallback-after-s: 66 .* 0 to 65"),
            ({"port": "x", "maximum-current-a": 5}, r"hal\.maximum-current-a"),
            ({"port": "x", "colour": 1}, r"hal\.colour: no such key"),
        ],
    )
    def test_invalid_options_are_refused(self, options: dict[str, object], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            create(options)

    async def test_missing_port_raises(self) -> None:
        link = OpenEvseLink(SerialPort("/dev/ttyNONE", 115_200), OpenEvseSettings())
        with pytest.raises(HalError, match="ttyNONE cannot be opened"):
            await link.open(lambda: None)
        await link.close()


def test_missing_pyserial_is_reported_before_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ConfigError, match="needs the package 'serial'"):
        create({"port": "/dev/ttyUSB0"})
