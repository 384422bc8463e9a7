"""Electrical Energy Measurement: energy imported and exported, in total and per period.

A total is stored before it leaves the node in a report, an event or a read, so it never
decreases, even after a power cut with a meter that loses its registers.

Spec: Matter Application Clusters 1.3 "Electrical Energy Measurement Cluster"
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import Attribute, ClusterServer, OptionalAttribute, reader, serves
from evse_node.cluster.servers.energy.energy_ledger import (
    EnergyLedger,
    EnergyPeriod,
    RegisterCounter,
)
from evse_node.cluster.servers.energy.measurement import (
    Accuracy,
    AccuracyRange,
    Instant,
    MeasurementType,
    QuietReporting,
    has_wall_times,
)
from evse_node.errors import DecodeError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.tlv import TagKey, TlvValue, decode_struct, encode
from evse_node.matter.tlv_fields import expect_integer, expect_structure

_Struct: TypeAlias = Mapping[str, Value]

_LOGGER: Final = logging.getLogger(__name__)

FEATURES: Final = ("IMPE", "EXPE", "CUME", "PERE")
_CUMULATIVE: Final = ("cumulative_energy_imported", "cumulative_energy_exported")
_PERIODIC: Final = ("periodic_energy_imported", "periodic_energy_exported")
_REPORT_S: Final = 10.0
_SAVE_S: Final = 60.0
_PERIOD_S: Final = 900.0
# The ends of a period are different seconds. Spec: "EnergyMeasurementStruct"
_SHORTEST_PERIOD_MS: Final = 1000
_MAXIMUM_MWH: Final = 10**15


class EnergyReading(Struct, frozen=True):
    """The registers of a meter, which only count up, and whether energy flows now."""

    imported_mwh: int
    exported_mwh: int
    is_flowing: bool


def energy_accuracy(percent_100ths: int = 100) -> Accuracy:
    """Return the accuracy of an energy meter; 1 % is class B of EN 50470-3."""
    whole = AccuracyRange(0, _MAXIMUM_MWH, percent_100ths=percent_100ths)
    return Accuracy(MeasurementType.ELECTRICAL_ENERGY, (whole,))


@serves("Electrical Energy Measurement")
class ElectricalEnergyMeasurement(ClusterServer):
    """Energy totals from the growth of the meter's registers.

    A measurement period ends when energy starts or stops flowing, and every `period_s`
    while it flows; both events are emitted then. Totals are reported every 10 s while
    they rise. `is_flowing`: energy flowed at the last reading.
    """

    accuracy: Attribute[Mapping[str, Value]]
    cumulative_energy_reset: OptionalAttribute[Mapping[str, Value] | None]

    def __init__(
        self,
        definition: ClusterDefinition,
        *,
        features: Collection[str] = FEATURES,
        accuracy: Accuracy | None = None,
        period_s: float = _PERIOD_S,
    ) -> None:
        super().__init__(definition, features=features, optional=["CumulativeEnergyReset"])
        self.accuracy = (accuracy or energy_accuracy()).to_struct()
        self._period_ms = max(int(period_s * 1000), _SHORTEST_PERIOD_MS)
        self._imported = RegisterCounter()
        self._exported = RegisterCounter()
        self._ledger = EnergyLedger()
        self._simulated: EnergyLedger | None = None
        self._reporting = QuietReporting(slowest_s=_REPORT_S)
        self.is_flowing = False
        self._is_edge = False
        self._reset_epoch_s: int | None = None
        self._reset: _Struct | None = None
        self._start = 0.0
        self._saved = b""
        self._saved_numbers: tuple[int | None, ...] = ()
        self._saved_at = 0.0

    # Readings

    def update(self, reading: EnergyReading, now: float) -> None:
        """Process a reading of the meter."""
        imported_mwh = self._imported.update(reading.imported_mwh)
        exported_mwh = self._exported.update(reading.exported_mwh)
        at = self._instant(now)
        ledger = self._ledger
        is_first = ledger.measured_at is None
        if is_first:
            ledger.start(self._imported.total_mwh, self._exported.total_mwh, at)
        else:
            ledger.add(imported_mwh, exported_mwh, at)
            self._is_edge |= reading.is_flowing != self.is_flowing
        self.is_flowing = reading.is_flowing
        # The timestamps of the totals advance even without energy.
        self.invalidate(*_CUMULATIVE)
        if self._simulated is None:
            self._report_due(now, has_changed=is_first or imported_mwh + exported_mwh > 0)
        if now >= self._saved_at + _SAVE_S:
            self.save()

    def reset(self, now: float) -> None:
        """Reset the totals to zero."""
        at = self._instant(now)
        self._imported.total_mwh = self._exported.total_mwh = 0
        self._ledger = EnergyLedger()
        self._ledger.start(0, 0, at)
        self._reset_epoch_s = at.epoch_s
        self._reset = self._reset_struct(at)
        self.save()
        if self._simulated is None:
            self._show_all()

    def _report_due(self, now: float, *, has_changed: bool) -> None:
        """Report and emit due values; an edge that is too early waits for the next reading."""
        length_ms = self._ledger.period_ms
        is_over = (self._is_edge and length_ms >= _SHORTEST_PERIOD_MS) or (
            self.is_flowing and length_ms >= self._period_ms
        )
        if is_over and self._reporting.is_due(now, is_significant=True):
            self._is_edge = False
            self._end_period(self._ledger)
        elif has_changed and self._reporting.is_due(now, is_significant=False):
            self.report(*_CUMULATIVE)

    def _end_period(self, ledger: EnergyLedger) -> None:
        period = ledger.close_period()
        self.report(*_CUMULATIVE, *_PERIODIC)
        self._emit("CumulativeEnergyMeasured", *self._totals(ledger))
        self._emit("PeriodicEnergyMeasured", *_period_structs(period))
        self.save()

    def _emit(self, event: str, imported: Value, exported: Value) -> None:
        fields: dict[str, Value] = {}
        if self.has_feature("IMPE"):
            fields["energy_imported"] = imported
        if self.has_feature("EXPE"):
            fields["energy_exported"] = exported
        self.emit(event, **fields)

    # A simulated load

    def start_simulation(self, now: float, interval_s: int) -> None:
        """Show totals from zero in place of the meter's, which keep counting unseen.

        The interval of the first `simulate` started `interval_s` ago.
        """
        at = self._instant(now)
        self._simulated = EnergyLedger()
        self._simulated.start(0, 0, at.earlier(interval_s))
        self.cumulative_energy_reset = self._reset_struct(at)

    def simulate(self, imported_mwh: int, exported_mwh: int, now: float) -> None:
        """Add energy to the simulated totals, and end a period.

        Raises RuntimeError without `start_simulation`.
        """
        ledger = self._simulated
        if ledger is None:
            raise RuntimeError("no simulation was started")
        ledger.add(imported_mwh, exported_mwh, self._instant(now))
        self._end_period(ledger)

    def end_simulation(self) -> None:
        """Show the meter's totals again."""
        self._simulated = None
        self._show_all()

    def _show_all(self) -> None:
        self.cumulative_energy_reset = self._reset
        self.report(*_CUMULATIVE, *_PERIODIC)

    # Attributes

    @reader
    def cumulative_energy_imported(self, context: InteractionContext) -> _Struct | None:
        return self._stored_totals()[0]

    @reader
    def cumulative_energy_exported(self, context: InteractionContext) -> _Struct | None:
        return self._stored_totals()[1]

    @reader
    def periodic_energy_imported(self, context: InteractionContext) -> _Struct | None:
        return _period_structs(self._shown.period)[0]

    @reader
    def periodic_energy_exported(self, context: InteractionContext) -> _Struct | None:
        return _period_structs(self._shown.period)[1]

    @property
    def _shown(self) -> EnergyLedger:
        return self._ledger if self._simulated is None else self._simulated

    def _stored_totals(self) -> tuple[_Struct | None, _Struct | None]:
        self.save()
        return self._totals(self._shown)

    def _totals(self, ledger: EnergyLedger) -> tuple[_Struct | None, _Struct | None]:
        at = ledger.measured_at
        if at is None:
            return None, None
        end: dict[str, Value] = (
            {"end_systime": at.system_ms} if at.epoch_s is None else {"end_timestamp": at.epoch_s}
        )
        return {"energy": ledger.imported_mwh, **end}, {"energy": ledger.exported_mwh, **end}

    def _reset_struct(self, at: Instant) -> _Struct:
        struct: dict[str, Value] = {}
        for code, direction in (("IMPE", "imported"), ("EXPE", "exported")):
            if not self.has_feature(code):
                continue
            if at.epoch_s is None:
                struct[f"{direction}_reset_systime"] = at.system_ms
            else:
                struct[f"{direction}_reset_timestamp"] = at.epoch_s
        return struct

    def _instant(self, now: float) -> Instant:
        return Instant.at(self.environment.utc_ms(), now - self._start)

    # Storage

    @property
    def _record_key(self) -> str:
        return f"energy/{self.endpoint_id}"

    def attached(self) -> None:
        """Load the stored totals."""
        self._start = self._saved_at = self.environment.now()
        data = self.environment.store.get(self._record_key)
        if data is None:
            return
        try:
            self._load(decode_struct(data))
        except DecodeError as error:
            _LOGGER.error("energy totals cannot be read, counting restarts at zero: %s", error)
        else:
            self._saved = data

    def save(self) -> None:
        """Store the totals; call it before the program ends, too."""
        self._saved_at = self.environment.now()
        numbers = (
            self._imported.total_mwh,
            self._imported.register_mwh,
            self._exported.total_mwh,
            self._exported.register_mwh,
            self._reset_epoch_s,
        )
        if numbers == self._saved_numbers:
            return
        record: dict[TagKey, TlvValue] = {
            0: self._imported.total_mwh,
            1: self._imported.register_mwh,
            2: self._exported.total_mwh,
            3: self._exported.register_mwh,
        }
        if self._reset_epoch_s is not None:
            record[4] = self._reset_epoch_s
        data = encode(record)
        if data != self._saved:
            self.environment.store.set(self._record_key, data)
            self._saved = data
        self._saved_numbers = numbers

    def _load(self, value: TlvValue) -> None:
        record = expect_structure(value)
        imported = RegisterCounter(expect_integer(record.get(0)), expect_integer(record.get(1)))
        exported = RegisterCounter(expect_integer(record.get(2)), expect_integer(record.get(3)))
        self._imported, self._exported = imported, exported
        if 4 in record:
            self._reset_epoch_s = expect_integer(record[4])
            self._reset = self._reset_struct(Instant(self._reset_epoch_s, 0))
            self.cumulative_energy_reset = self._reset


def _period_structs(period: EnergyPeriod | None) -> tuple[_Struct | None, _Struct | None]:
    """Return the energies of a period, imported and exported, as EnergyMeasurementStructs."""
    if period is None:
        return None, None
    start, end = period.start, period.end
    times: dict[str, Value]
    if has_wall_times(start, end):
        times = {"start_timestamp": start.epoch_s, "end_timestamp": end.epoch_s}
    else:
        times = {"start_systime": start.system_ms, "end_systime": end.system_ms}
    return {"energy": period.imported_mwh, **times}, {"energy": period.exported_mwh, **times}
