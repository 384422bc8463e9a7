"""Electrical Power Measurement: voltage, current and power of an alternating current.

With several phases, power is the sum, voltage the mean to neutral, and current that of the
most loaded phase, which compares with the per-conductor limits of the Energy EVSE cluster.

Not implemented: Harmonics and Power Quality (features HARM and PWRQ), direct current
(feature DIRC).

Spec: Matter Application Clusters 1.3 "Electrical Power Measurement Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Final, NamedTuple

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import Attribute, ClusterServer, OptionalAttribute, serves
from evse_node.cluster.servers.energy.measurement import (
    Accuracy,
    AccuracyRange,
    Instant,
    MeasurementType,
    QuietReporting,
    percent_accuracy,
)
from evse_node.cluster.servers.energy.measurement_range import RangeTracker

_AC: Final = 2
_FULL_FACTOR: Final = 10_000
_RANGE_PERIOD_S: Final = 900.0
_INSIGNIFICANT_S: Final = 60.0

# A significant change is at least 1/50 of the value, and at least that of its `_Measurement`.
_SIGNIFICANT_PART: Final = 50
_RANGED: Final = (
    MeasurementType.VOLTAGE,
    MeasurementType.ACTIVE_CURRENT,
    MeasurementType.ACTIVE_POWER,
)


class PowerReading(Struct, frozen=True):
    """The values of a meter at one moment, one voltage and one current per phase.

    Power is negative while energy is exported. None stands for values not measured.
    """

    power_mw: int
    voltages_mv: tuple[int, ...]
    currents_ma: tuple[int, ...]
    frequency_millihertz: int | None = None
    reactive_power_mvar: int | None = None
    neutral_current_ma: int | None = None

    @property
    def voltage_mv(self) -> int | None:
        """The mean of the phases."""
        voltages = self.voltages_mv
        return sum(voltages) // len(voltages) if voltages else None

    @property
    def current_ma(self) -> int | None:
        """The maximum of the phases."""
        return max(map(abs, self.currents_ma), default=None)

    @property
    def apparent_power_mva(self) -> int | None:
        """The sum of voltage times current, at least the active power."""
        if not self.voltages_mv or len(self.voltages_mv) != len(self.currents_ma):
            return None
        products = zip(self.voltages_mv, self.currents_ma, strict=True)
        apparent = sum(voltage * abs(current) for voltage, current in products) // 1000
        if self.reactive_power_mvar is not None:
            apparent = max(apparent, isqrt(self.power_mw**2 + self.reactive_power_mvar**2))
        return max(apparent, abs(self.power_mw))

    @property
    def power_factor_100ths(self) -> int | None:
        """Active by apparent power in hundredths of a percent, with the sign of the power."""
        apparent = self.apparent_power_mva
        if not apparent:
            return None
        factor = abs(self.power_mw) * _FULL_FACTOR // apparent
        return factor if self.power_mw >= 0 else -factor

    @property
    def active_current_ma(self) -> int | None:
        """The active part of the current, negative while energy is exported."""
        current, factor = self.current_ma, self.power_factor_100ths
        if current is None or factor is None:
            return current
        active = current * abs(factor) // _FULL_FACTOR
        return active if self.power_mw >= 0 else -active


class _Measurement(NamedTuple):
    """A type of measurement: its attribute, its value, and the least significant change."""

    attribute: str
    value: Callable[[PowerReading], int | None]
    significant: int


# Spec: "Accuracy Attribute"
_MEASUREMENTS: Final[Mapping[MeasurementType, _Measurement]] = {
    MeasurementType.VOLTAGE: _Measurement("Voltage", lambda r: r.voltage_mv, 2_000),
    MeasurementType.ACTIVE_CURRENT: _Measurement(
        "ActiveCurrent", lambda r: r.active_current_ma, 100
    ),
    MeasurementType.ACTIVE_POWER: _Measurement("ActivePower", lambda r: r.power_mw, 20_000),
    MeasurementType.REACTIVE_POWER: _Measurement(
        "ReactivePower", lambda r: r.reactive_power_mvar, 20_000
    ),
    MeasurementType.APPARENT_POWER: _Measurement(
        "ApparentPower", lambda r: r.apparent_power_mva, 20_000
    ),
    MeasurementType.RMS_VOLTAGE: _Measurement("RMSVoltage", lambda r: r.voltage_mv, 2_000),
    MeasurementType.RMS_CURRENT: _Measurement("RMSCurrent", lambda r: r.current_ma, 100),
    MeasurementType.FREQUENCY: _Measurement("Frequency", lambda r: r.frequency_millihertz, 100),
    MeasurementType.POWER_FACTOR: _Measurement("PowerFactor", lambda r: r.power_factor_100ths, 500),
    MeasurementType.NEUTRAL_CURRENT: _Measurement(
        "NeutralCurrent", lambda r: r.neutral_current_ma, 100
    ),
}


def ac_accuracies(
    maximum_voltage_mv: int, maximum_current_ma: int, phases: int = 1
) -> tuple[Accuracy, ...]:
    """Return the accuracies of a class B meter (1 %) up to these values per phase.

    Spec: EN 50470-3 for power; voltage and current as is common for such meters
    """
    power = maximum_voltage_mv * maximum_current_ma * phases // 1000
    types = MeasurementType
    return (
        percent_accuracy(types.VOLTAGE, maximum_voltage_mv, 50),
        percent_accuracy(types.ACTIVE_CURRENT, maximum_current_ma, 100, is_signed=True),
        percent_accuracy(types.ACTIVE_POWER, power, 100, is_signed=True),
        percent_accuracy(types.APPARENT_POWER, power, 100),
        percent_accuracy(types.RMS_VOLTAGE, maximum_voltage_mv, 50),
        percent_accuracy(types.RMS_CURRENT, maximum_current_ma, 100),
        Accuracy(types.FREQUENCY, (AccuracyRange(0, 100_000, fixed=50),)),
        Accuracy(types.POWER_FACTOR, (AccuracyRange(-_FULL_FACTOR, _FULL_FACTOR, fixed=200),)),
    )


@serves("Electrical Power Measurement")
class ElectricalPowerMeasurement(ClusterServer):
    """The latest reading with quieter reporting, and the ranges of the last period.

    Each of `accuracies` adds one attribute; Active Power must be among them (else
    ValueError). A period starts when power starts to flow and lasts `range_period_s`.
    """

    power_mode: Attribute[int]
    number_of_measurement_types: Attribute[int]
    accuracy: Attribute[Sequence[Mapping[str, Value]]]
    ranges: Attribute[Sequence[Mapping[str, Value]]]
    voltage: OptionalAttribute[int | None]
    active_current: OptionalAttribute[int | None]
    active_power: Attribute[int | None]
    reactive_power: OptionalAttribute[int | None]
    apparent_power: OptionalAttribute[int | None]
    rms_voltage: OptionalAttribute[int | None]
    rms_current: OptionalAttribute[int | None]
    frequency: OptionalAttribute[int | None]
    power_factor: OptionalAttribute[int | None]
    neutral_current: OptionalAttribute[int | None]

    def __init__(
        self,
        definition: ClusterDefinition,
        accuracies: Sequence[Accuracy],
        *,
        phases: int = 1,
        range_period_s: float = _RANGE_PERIOD_S,
    ) -> None:
        self._types = tuple(accuracy.type for accuracy in accuracies)
        if MeasurementType.ACTIVE_POWER not in self._types:
            raise ValueError("Active Power is missing")
        super().__init__(
            definition,
            features=["ALTC", "POLY"] if phases > 1 else ["ALTC"],
            optional=["Ranges", *(_MEASUREMENTS[type_].attribute for type_ in self._types)],
        )
        self.power_mode = _AC
        self.number_of_measurement_types = len(accuracies)
        self.accuracy = [item.to_struct() for item in accuracies]
        self._keys = {
            type_: definition.attribute(_MEASUREMENTS[type_].attribute).key for type_ in self._types
        }
        self._reporting = QuietReporting(slowest_s=_INSIGNIFICANT_S)
        self._reported: dict[MeasurementType, int | None] = dict.fromkeys(self._types)
        self._ranges = RangeTracker([t for t in _RANGED if t in self._types], range_period_s)
        self._start = 0.0
        self._reading: PowerReading | None = None
        self._simulated: PowerReading | None = None

    def attached(self) -> None:
        """Start the system time."""
        self._start = self.environment.now()

    def update(self, reading: PowerReading | None, now: float) -> None:
        """Process a reading of the meter, or None when the meter is unavailable."""
        self._reading = reading
        if self._simulated is None:
            self._show(reading, now)

    def simulate(self, reading: PowerReading | None, now: float) -> None:
        """Show a reading in place of the meter's; None shows the meter's again."""
        self._simulated = reading
        self._show(self._reading if reading is None else reading, now)

    def _show(self, reading: PowerReading | None, now: float) -> None:
        values = {
            type_: None if reading is None else _MEASUREMENTS[type_].value(reading)
            for type_ in self._types
        }
        with self.changes(is_reported=False):
            for type_, value in values.items():
                setattr(self, self._keys[type_], value)
        changed = [type_ for type_, value in values.items() if value != self._reported[type_]]
        if changed and self._reporting.is_due(
            now,
            is_significant=any(
                is_significant(type_, self._reported[type_], values[type_]) for type_ in changed
            ),
        ):
            self._reported.update(values)
            self.report(*(self._keys[type_] for type_ in changed))
        if self._simulated is None:
            at = Instant.at(self.environment.utc_ms(), now - self._start)
            is_flowing = bool(values[MeasurementType.ACTIVE_POWER])
            ranges = self._ranges.add(values, at, is_flowing=is_flowing)
            if ranges is not None:
                self.ranges = [item.to_struct() for item in ranges]
                self.emit("MeasurementPeriodRanges", ranges=self.ranges)


def is_significant(type_: MeasurementType, before: int | None, after: int | None) -> bool:
    """Return whether a change is large enough to be reported soon."""
    if before is None or after is None or (before == 0) != (after == 0):
        return before != after
    return abs(after - before) >= max(
        _MEASUREMENTS[type_].significant, abs(before) // _SIGNIFICANT_PART
    )
