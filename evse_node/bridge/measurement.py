"""Bridge from meter and thermometer to the measurement clusters of the charger's endpoint.

    measurements = MeasurementBridge(charger, backend, definitions, timers)
    for cluster in measurements.clusters:
        endpoint.clusters[cluster.id] = cluster
        cluster.attach(endpoint.id, environment)
    for code, action in measurements.triggers.items():
        diagnostics.add_trigger(code, action, endpoint.id)
    measurements.start(now)
    ...
    measurements.stop()

Without a meter there is no Electrical Sensor, without a thermometer no Temperature
Measurement: the hardware decides the device types of the endpoint.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from evse_node.charger import Charger, Snapshot
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer
from evse_node.cluster.servers.energy.electrical_energy_measurement import (
    ElectricalEnergyMeasurement,
    EnergyReading,
)
from evse_node.cluster.servers.energy.electrical_power_measurement import (
    ElectricalPowerMeasurement,
    PowerReading,
    ac_accuracies,
)
from evse_node.cluster.servers.energy.power_source import Mains, PowerSource, WiredFault
from evse_node.cluster.servers.energy.power_topology import PowerTopology
from evse_node.cluster.servers.energy.simulated_load import SimulatedLoad
from evse_node.cluster.servers.energy.temperature_measurement import TemperatureMeasurement
from evse_node.cluster.servers.shared.identify import (
    EffectObserver,
    Identify,
    IdentifyObserver,
    IdentifyType,
)
from evse_node.hal.interface import EvseBackend, MeterValues, TemperatureSensor
from evse_node.matter.timers import Timer, Timers
from evse_node.state_machine.effects import Notification
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import ContactorState

_QUICK_POLL_S: Final = 1.0
_IDLE_POLL_S: Final = 10.0
# Polls at the start and after a transfer, for meters that count with a delay.
_QUICK_POLLS: Final = 3
_WIRED_FAULTS: Final[Mapping[FaultState, WiredFault]] = {
    FaultState.OVER_VOLTAGE: WiredFault.OVER_VOLTAGE,
    FaultState.UNDER_VOLTAGE: WiredFault.UNDER_VOLTAGE,
    FaultState.POWER_QUALITY: WiredFault.UNSPECIFIED,
    FaultState.POWER_LOSS: WiredFault.UNSPECIFIED,
}


class MeasurementBridge:
    """Reads the meter every second while energy flows, else every ten and at each change.

    `draw` returns a random number from 0 up to 1, for test loads. `on_identify` and
    `on_effect` show a person which charger it is.
    """

    def __init__(
        self,
        charger: Charger,
        backend: EvseBackend,
        definitions: Mapping[str, ClusterDefinition],
        timers: Timers,
        *,
        draw: Callable[[], float] = random.random,
        identify_type: IdentifyType = IdentifyType.NONE,
        on_identify: IdentifyObserver = lambda is_on: None,
        on_effect: EffectObserver | None = None,
        powered_endpoints: Sequence[int] = (0,),
    ) -> None:
        ratings = backend.ratings
        self._charger = charger
        self._sensor: TemperatureSensor | None = backend.temperature_sensor
        self._timers = timers
        self._timer: Timer | None = None
        self._quick_polls = _QUICK_POLLS
        self._is_open = False
        self._faults: tuple[FaultState, ...] = ()
        self.identify = Identify(
            definitions["Identify"],
            timers,
            identify_type=identify_type,
            on_identify=on_identify,
            on_effect=on_effect,
        )
        self.power_source = PowerSource(
            definitions["Power Source"],
            Mains(ratings.nominal_voltage_mv, charger.settings.circuit_capacity_ma),
            endpoints=powered_endpoints,
        )
        self.temperature = (
            None
            if self._sensor is None
            else TemperatureMeasurement(definitions["Temperature Measurement"])
        )
        self.power: ElectricalPowerMeasurement | None = None
        self.energy: ElectricalEnergyMeasurement | None = None
        self.simulated_load: SimulatedLoad | None = None
        self._clusters: list[ClusterServer] = [self.identify, self.power_source]
        if self.temperature is not None:
            self._clusters.append(self.temperature)
        if backend.meter is not None:
            # A quarter above the ratings of the installation, as the range of the meter.
            accuracies = ac_accuracies(
                ratings.nominal_voltage_mv * 5 // 4,
                ratings.maximum_current_ma * 5 // 4,
                ratings.phases,
            )
            self.power = ElectricalPowerMeasurement(
                definitions["Electrical Power Measurement"], accuracies, phases=ratings.phases
            )
            self.energy = ElectricalEnergyMeasurement(definitions["Electrical Energy Measurement"])
            self.simulated_load = SimulatedLoad(self.power, self.energy, timers, draw)
            topology = PowerTopology(definitions["Power Topology"])
            self._clusters += [self.power, self.energy, topology]

    @property
    def clusters(self) -> tuple[ClusterServer, ...]:
        """The clusters to be put on the charger's endpoint and attached."""
        return tuple(self._clusters)

    @property
    def device_types(self) -> tuple[str, ...]:
        """The device types that these clusters give the endpoint."""
        return ("Power Source",) if self.energy is None else ("Electrical Sensor", "Power Source")

    @property
    def triggers(self) -> Mapping[int, Callable[[float], None]]:
        """Actions of the test event triggers by code, called with `now`."""
        return {} if self.simulated_load is None else self.simulated_load.triggers

    def start(self, now: float) -> None:
        """Start measuring; the clusters must be attached."""
        self._charger.observers.append(self._on_change)
        self._show_faults(self._charger.snapshot().faults)
        self._poll(now)

    def stop(self) -> None:
        """Stop measuring, and store the energy totals."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_change in self._charger.observers:
            self._charger.observers.remove(self._on_change)
        if self.energy is not None:
            self.energy.save()

    def _on_change(
        self, snapshot: Snapshot, notifications: tuple[Notification, ...], now: float
    ) -> None:
        if snapshot.faults != self._faults:
            self._show_faults(snapshot.faults)
        was_open, self._is_open = self._is_open, snapshot.contactor is ContactorState.OPEN
        if was_open and self._is_open and not notifications:
            return  # only a setting changed, and no energy flows
        # Deferred: a reading may cause the next change, which observers must see after this one.
        self._poll_at(now)

    def _show_faults(self, faults: tuple[FaultState, ...]) -> None:
        self._faults = faults
        self.power_source.set_faults(
            [_WIRED_FAULTS[fault] for fault in faults if fault in _WIRED_FAULTS]
        )

    def _poll_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_at(when, self._poll)

    def _poll(self, now: float) -> None:
        self._poll_meter(now)
        self._poll_temperature()
        is_quick = self._quick_polls > 0
        self._quick_polls -= is_quick
        self._poll_at(now + (_QUICK_POLL_S if is_quick else _IDLE_POLL_S))

    def _poll_meter(self, now: float) -> None:
        if self.power is None or self.energy is None:
            return
        values = self._charger.meter_values(now)
        if values is None:
            self.power.update(None, now)
            self.power_source.assess(voltage_mv=None, current_ma=None)
            return
        is_flowing = values.power_mw != 0
        if is_flowing:
            self._quick_polls = _QUICK_POLLS
        reading = power_reading(values)
        self.power.update(reading, now)
        self.energy.update(
            EnergyReading(values.imported_mwh, values.exported_mwh, is_flowing=is_flowing), now
        )
        self.power_source.assess(
            voltage_mv=reading.voltage_mv,
            current_ma=reading.current_ma,
            frequency_hz=None
            if values.frequency_millihertz is None
            else (values.frequency_millihertz + 500) // 1000,
        )

    def _poll_temperature(self) -> None:
        if self._sensor is None or self.temperature is None:
            return
        try:
            temperature_mc: int | None = self._sensor.read_millicelsius()
        except Exception:
            # Lost, or an error in the backend: the charger polls as well, and reports it.
            temperature_mc = None
        self.temperature.update(temperature_mc)


def power_reading(values: MeterValues) -> PowerReading:
    """Return the momentary values of a meter."""
    return PowerReading(
        values.power_mw,
        tuple(values.voltages_mv),
        tuple(values.currents_ma),
        values.frequency_millihertz,
    )
