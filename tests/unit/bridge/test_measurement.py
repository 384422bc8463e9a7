"""From a simulated car's meter to the clusters around the Energy EVSE."""

from __future__ import annotations

import pytest

from evse_node.bridge.measurement import MeasurementBridge
from evse_node.cluster.definitions.device_type import check_node, device_type
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import ClusterServer, Value
from evse_node.cluster.servers.shared.descriptor import DescriptorServer
from evse_node.cluster.servers.shared.identify import IdentifyType
from evse_node.errors import HalError
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.data_model import Endpoint
from evse_node.state_machine.faults import FaultState
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps
from tests.support.charger.charger_host import ChargerHost
from tests.support.matter.cluster_host import ENDPOINT, ClusterHost
from tests.support.matter.values import as_int, as_struct

START_LOAD, STOP_LOAD = 0x0091_0000_0000_0001, 0x0091_0000_0000_0000


class Setup:
    """A charger with its car, and all clusters of its endpoint."""

    def __init__(
        self,
        backend: SimulatedBackend | None = None,
        store: MemoryStore | None = None,
        now: float = 1000.0,
    ) -> None:
        self.charger = ChargerHost(backend=backend, store=store, now=now)
        self.clusters = ClusterHost(store=self.charger.store)
        self.clusters.environment.now = lambda: self.charger.now
        self.clusters.environment.utc_ms = self.charger.utc_ms
        self.bridge = MeasurementBridge(
            self.charger.charger,
            self.charger.backend,
            load_definitions(),
            self.charger.timers,
            draw=lambda: 0.25,
        )
        self.clusters.attach(*self.bridge.clusters)
        self.bridge.start(self.charger.now)

    @property
    def car(self) -> SimulatedBackend:
        return self.charger.backend

    def charge(self) -> None:
        assert self.charger.status("EnableCharging", None, 6_000, 32_000) == 0
        self.car.plug_in()
        self.car.demand()

    def run(self, seconds: float) -> None:
        self.charger.run(seconds)

    def read(self, cluster: ClusterServer | None, name: str) -> Value:
        assert cluster is not None
        self.clusters.now = self.charger.now
        return self.clusters.read(cluster, name)

    def power(self, name: str = "active_power") -> Value:
        return self.read(self.bridge.power, name)

    def imported(self) -> int:
        return energy_of(self.read(self.bridge.energy, "cumulative_energy_imported"))


def energy_of(struct: Value) -> int:
    """Return the energy of an EnergyMeasurementStruct."""
    return as_int(as_struct(struct)["energy"])


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_endpoint_satisfies_its_device_types(setup: Setup) -> None:
    definitions = load_definitions()
    charger = setup.charger
    servers = [
        DescriptorServer(definitions["Descriptor"]),
        *charger.bridge.clusters,
        *setup.bridge.clusters,
    ]
    types = [device_type(name) for name in ("Energy EVSE", *setup.bridge.device_types)]
    charger.node.endpoints[ENDPOINT] = Endpoint(
        ENDPOINT,
        tuple((each.id, each.revision) for each in types),
        {server.id: server for server in servers},
    )
    check_node(charger.node)
    assert setup.read(setup.bridge.power_source, "endpoint_list") == [0, ENDPOINT]


def test_idle_charger_shows_voltage_and_no_power(setup: Setup) -> None:
    assert setup.power() == 0
    assert setup.power("voltage") == 230_000
    assert setup.power("frequency") == 50_000
    assert setup.imported() == 0
    assert setup.read(setup.bridge.temperature, "measured_value") == 2_500
    assert setup.read(setup.bridge.power_source, "wired_assessed_input_frequency") == 50


def test_charging_car_is_measured_within_a_second(setup: Setup) -> None:
    setup.charge()
    setup.run(2.0)
    car_mw = setup.car.status()["power_mw"]
    assert car_mw > 0
    assert setup.power() == car_mw
    assert setup.power("rms_current") == setup.car.status()["current_ma"]
    assert setup.power("power_factor") == 10_000
    assert as_int(setup.read(setup.bridge.power_source, "wired_assessed_current")) > 0


def test_meter_session_and_total_agree_to_the_milliwatt_hour(setup: Setup) -> None:
    setup.charge()
    setup.run(3600.0)
    setup.car.unplug()
    setup.run(2.0)
    total = setup.car.status()["imported_mwh"]
    assert total > 0
    assert setup.imported() == total
    assert setup.charger.read("SessionEnergyCharged") == total
    assert setup.power() == 0
    periods = [
        energy_of(as_struct(fields)["energy_imported"])
        for name, fields in setup.clusters.take_events()
        if name == "PeriodicEnergyMeasured"
    ]
    assert sum(periods) == total
    # Begin, three or four quarters of an hour, and the end.
    assert 5 <= len(periods) <= 7


def test_end_of_charging_is_reported_at_once(setup: Setup) -> None:
    setup.charge()
    setup.run(60.0)
    setup.clusters.take_reports()
    setup.car.no_demand()
    setup.run(1.5)
    assert setup.power() == 0
    assert "active_power" in setup.clusters.take_reports()


def test_idle_charger_is_measured_every_ten_seconds(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.run(60.0)
    reads: list[float] = []
    read = setup.car.board.read

    def count() -> MeterValues:
        reads.append(setup.charger.now)
        return read()

    monkeypatch.setattr(setup.car.board, "read", count)
    setup.run(100.0)
    assert 9 <= len(reads) <= 12


def test_total_survives_a_restart_with_a_new_meter(setup: Setup) -> None:
    setup.charge()
    setup.run(600.0)
    before = setup.imported()
    setup.bridge.stop()
    setup.charger.store.commit()
    # The simulated meter of another process begins at zero.
    again = Setup(store=setup.charger.store.after_power_cut(), now=5.0)
    again.run(15.0)
    assert again.imported() == before
    again.charge()
    again.run(60.0)
    again.car.no_demand()
    again.run(2.0)
    assert again.imported() == before + again.car.status()["imported_mwh"]


def test_stopped_bridge_measures_no_more(setup: Setup) -> None:
    setup.bridge.stop()
    setup.charge()
    setup.run(60.0)
    assert setup.power() == 0
    setup.bridge.stop()


def test_lost_meter_reads_null_until_it_returns(setup: Setup) -> None:
    setup.charge()
    setup.run(30.0)
    setup.car.board.is_meter_lost = True
    before = setup.imported()
    setup.run(12.0)
    assert setup.power() is None
    assert setup.read(setup.bridge.power_source, "wired_assessed_input_voltage") is None
    assert setup.imported() == before
    setup.car.board.is_meter_lost = False
    setup.run(12.0)
    setup.car.no_demand()
    setup.run(2.0)
    assert setup.power() == 0
    assert setup.imported() == setup.car.status()["imported_mwh"]


@pytest.mark.parametrize("error", [HalError("no answer"), ZeroDivisionError()])
def test_lost_thermometer_reads_null(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lost() -> int:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(setup.car.board, "read_millicelsius", lost)
        setup.run(12.0)
        assert setup.read(setup.bridge.temperature, "measured_value") is None
    # Whatever it was, measuring goes on.
    setup.run(12.0)
    assert setup.read(setup.bridge.temperature, "measured_value") == 2_500


def test_voltage_faults_appear_in_power_source(setup: Setup) -> None:
    setup.car.fault("UnderVoltage")
    setup.run(0.1)
    source = setup.bridge.power_source
    assert setup.read(source, "active_wired_faults") == [2]
    setup.car.clear_fault()
    setup.run(0.1)
    assert setup.read(source, "active_wired_faults") == []
    assert [name for name, _ in setup.clusters.take_events()] == ["WiredFaultChange"] * 2
    setup.car.fault(FaultState.GROUND_FAULT.value)
    setup.run(0.1)
    assert setup.read(source, "active_wired_faults") == []


def test_fake_load_hides_a_charging_car_that_is_still_counted(setup: Setup) -> None:
    setup.charge()
    setup.run(60.0)
    setup.bridge.triggers[START_LOAD](setup.charger.now)
    assert 980_000 <= as_int(setup.power()) < 1_020_000
    setup.run(60.0)
    assert setup.imported() < 20_000
    setup.bridge.triggers[STOP_LOAD](setup.charger.now)
    assert setup.power() == setup.car.status()["power_mw"]
    setup.car.no_demand()
    setup.run(2.0)
    assert setup.imported() == setup.car.status()["imported_mwh"]


def test_single_phase_charger_has_no_polyphase_feature() -> None:
    ratings = Ratings(Milliamps(16_000), phases=1)
    single = Setup(SimulatedBackend(clock=lambda: 1000.0, ratings=ratings))
    assert single.power("feature_map") == 0b00010
    triple = Ratings(Milliamps(16_000), phases=3)
    poly = Setup(SimulatedBackend(clock=lambda: 1000.0, ratings=triple))
    assert poly.power("feature_map") == 0b00110


def test_endpoint_without_meter_and_thermometer_has_no_sensor_device_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = SimulatedBackend(clock=lambda: 1000.0)
    monkeypatch.setattr(backend, "meter", None)
    monkeypatch.setattr(backend, "temperature_sensor", None)
    setup = Setup(backend)
    assert setup.bridge.device_types == ("Power Source",)
    assert [cluster.name for cluster in setup.bridge.clusters] == ["Identify", "Power Source"]
    assert setup.bridge.triggers == {}
    setup.run(30.0)
    setup.bridge.stop()


def test_identify_is_forwarded_to_hardware_that_supports_it() -> None:
    charger = ChargerHost()
    shown: list[bool] = []
    bridge = MeasurementBridge(
        charger.charger,
        charger.backend,
        load_definitions(),
        charger.timers,
        identify_type=IdentifyType.DISPLAY,
        on_identify=shown.append,
        on_effect=lambda effect: None,
    )
    host = ClusterHost()
    host.attach(*bridge.clusters)
    assert host.read(bridge.identify, "identify_type") == 4
    bridge.identify.identify_for(3, charger.now)
    charger.run(4.0)
    assert shown == [True, False]
