"""Electrical Power Measurement: voltage, current and power of an alternating current.

With several phases, power is their sum, voltage their mean to neutral, and current that
of the phase which carries most: so it compares with the limits of the Energy EVSE
cluster, which hold for each conductor.

Not implemented: Harmonics and Power Quality (features HARM and PWRQ), direct current
(feature DIRC).

Spec: Matter Application Clusters 1.3 "Electrical Power Measurement Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves
from evse_node.cluster.servers.energy.measurement import (
    Accuracy,
    AccuracyRange,
    Instant,
    MeasurementType,
    QuietReporting,
    percent_accuracy,
    type_values,
)
from evse_node.cluster.servers.energy.measurement_range import RangeTracker

_AC: Final = 2
_FULL_FACTOR: Final = 10_000
_RANGE_PERIOD_S: Final = 900.0
_INSIGNIFICANT_S: Final = 60.0

# Attributes by what they measure; Spec: "Accuracy Attribute".
_NAMES: Final[Mapping[MeasurementType, str]] = {
    MeasurementType.VOLTAGE: "Voltage",
    MeasurementType.ACTIVE_CURRENT: "ActiveCurrent",
    MeasurementType.ACTIVE_POWER: "ActivePower",
    MeasurementType.REACTIVE_POWER: "ReactivePower",
    MeasurementType.APPARENT_POWER: "ApparentPower",
    MeasurementType.RMS_VOLTAGE: "RMSVoltage",
    MeasurementType.RMS_CURRENT: "RMSCurrent",
    MeasurementType.FREQUENCY: "Frequency",
    MeasurementType.POWER_FACTOR: "PowerFactor",
    MeasurementType.NEUTRAL_CURRENT: "NeutralCurrent",
}
# A change is significant from this part of the value on, and from this much on.
_SIGNIFICANT_PART: Final = 50
_SIGNIFICANT: Final[Mapping[MeasurementType, int]] = {
    MeasurementType.VOLTAGE: 2_000,
    MeasurementType.ACTIVE_CURRENT: 100,
    MeasurementType.ACTIVE_POWER: 20_000,
    MeasurementType.REACTIVE_POWER: 20_000,
    MeasurementType.APPARENT_POWER: 20_000,
    MeasurementType.RMS_VOLTAGE: 2_000,
    MeasurementType.RMS_CURRENT: 100,
    MeasurementType.FREQUENCY: 100,
    MeasurementType.POWER_FACTOR: 500,
    MeasurementType.NEUTRAL_CURRENT: 100,
}
_RANGED: Final = (
    MeasurementType.VOLTAGE,
    MeasurementType.ACTIVE_CURRENT,
    MeasurementType.ACTIVE_POWER,
)


class PowerReading(Struct, frozen=True):
    """What a meter shows at one moment, one voltage and one current per phase.

    Power is negative while energy is exported. None is what the meter does not measure.
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
        """The greatest of the phases."""
        return max(map(abs, self.currents_ma), default=None)

    @property
    def apparent_power_mva(self) -> int | None:
        """The sum of voltage times current; never less than the power itself."""
        if not self.voltages_mv or len(self.voltages_mv) != len(self.currents_ma):
            return None
        products = zip(self.voltages_mv, self.currents_ma, strict=True)
        apparent = sum(voltage * abs(current) for voltage, current in products) // 1000
        if self.reactive_power_mvar is not None:
            apparent = max(apparent, isqrt(self.power_mw**2 + self.reactive_power_mvar**2))
        return max(apparent, abs(self.power_mw))

    @property
    def power_factor_100ths(self) -> int | None:
        """Power by apparent power in hundredths of a percent, with the sign of the power."""
        apparent = self.apparent_power_mva
        if not apparent:
            return None
        factor = abs(self.power_mw) * _FULL_FACTOR // apparent
        return factor if self.power_mw >= 0 else -factor

    @property
    def active_current_ma(self) -> int | None:
        """The part of the current that carries power, negative while energy is exported."""
        current, factor = self.current_ma, self.power_factor_100ths
        if current is None or factor is None:
            return current
        active = current * abs(factor) // _FULL_FACTOR
        return active if self.power_mw >= 0 else -active

    def value(self, type_: MeasurementType) -> int | None:
        """Return one measurement in the attribute's unit, or None when there is none."""
        match type_:
            case MeasurementType.VOLTAGE | MeasurementType.RMS_VOLTAGE:
                return self.voltage_mv
            case MeasurementType.ACTIVE_CURRENT:
                return self.active_current_ma
            case MeasurementType.RMS_CURRENT:
                return self.current_ma
            case MeasurementType.ACTIVE_POWER:
                return self.power_mw
            case MeasurementType.REACTIVE_POWER:
                return self.reactive_power_mvar
            case MeasurementType.APPARENT_POWER:
                return self.apparent_power_mva
            case MeasurementType.POWER_FACTOR:
                return self.power_factor_100ths
            case MeasurementType.FREQUENCY:
                return self.frequency_millihertz
            case MeasurementType.NEUTRAL_CURRENT:
                return self.neutral_current_ma
            case _:
                return None


def ac_accuracies(
    maximum_voltage_mv: int, maximum_current_ma: int, phases: int = 1
) -> tuple[Accuracy, ...]:
    """Return what a meter of class B (1 %) measures, up to these values per phase.

    Spec: EN 50470-3 for power; voltage and current as such meters commonly have them
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
    """The latest reading, reported quietly; and the ranges of the last measurement period.

    `accuracies` say what is measured: each gives one attribute, and Active Power must be
    among them (else ValueError). A period begins when power begins to flow and lasts
    `range_period_s`.
    """

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
            raise ValueError("Active Power is always measured")
        super().__init__(
            definition,
            features=["ALTC", "POLY"] if phases > 1 else ["ALTC"],
            optional=["Ranges", *(_NAMES[type_] for type_ in self._types)],
            values={"power_mode": _AC, "ranges": [], **type_values(accuracies)},
        )
        self._keys = {type_: definition.attribute(_NAMES[type_]).key for type_ in self._types}
        self._reporting = QuietReporting(slowest_s=_INSIGNIFICANT_S)
        self._reported: dict[MeasurementType, int | None] = dict.fromkeys(self._types)
        self._ranges = RangeTracker([t for t in _RANGED if t in self._types], range_period_s)
        self._start = 0.0
        self._reading: PowerReading | None = None
        self._stand_in: PowerReading | None = None

    def attached(self) -> None:
        """Begin to count system time."""
        self._start = self.environment.now()

    def update(self, reading: PowerReading | None, now: float) -> None:
        """Take what the meter shows, or None when it is lost."""
        self._reading = reading
        if self._stand_in is None:
            self._show(reading, now)

    def stand_in(self, reading: PowerReading | None, now: float) -> None:
        """Show a reading in place of the meter's, until None gives the meter its place back."""
        self._stand_in = reading
        self._show(self._reading if reading is None else reading, now)

    def _show(self, reading: PowerReading | None, now: float) -> None:
        values = {type_: None if reading is None else reading.value(type_) for type_ in self._keys}
        self.set_quietly(**{self._keys[type_]: value for type_, value in values.items()})
        changed = [type_ for type_, value in values.items() if value != self._reported[type_]]
        if changed and self._reporting.is_due(
            now,
            is_significant=any(
                is_significant(type_, self._reported[type_], values[type_]) for type_ in changed
            ),
        ):
            self._reported.update(values)
            self.report(*(self._keys[type_] for type_ in changed))
        if self._stand_in is None:
            self._track(values, now)

    def _track(self, values: Mapping[MeasurementType, int | None], now: float) -> None:
        at = Instant.at(self.environment.utc_ms(), now - self._start)
        ranges = self._ranges.add(values, at, is_flowing=bool(values[MeasurementType.ACTIVE_POWER]))
        if ranges is not None:
            structs: list[Value] = [item.to_struct() for item in ranges]
            self.set(ranges=structs)
            self.emit("MeasurementPeriodRanges", ranges=structs)


def is_significant(type_: MeasurementType, before: int | None, after: int | None) -> bool:
    """Return whether someone who knows the value before should soon know the one after."""
    if before is None or after is None or (before == 0) != (after == 0):
        return before != after
    return abs(after - before) >= max(_SIGNIFICANT[type_], abs(before) // _SIGNIFICANT_PART)
