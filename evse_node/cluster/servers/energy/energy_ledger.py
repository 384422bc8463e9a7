"""Energy in whole milliwatt-hours, none lost and none counted twice."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from evse_node.cluster.servers.energy.measurement import Instant

_MW_MS_PER_MWH: Final = 3_600_000
_NEW_COUNT_MWH: Final = 1_000_000


class PowerIntegrator(Struct, eq=False):
    """Integrates power to energy; fractions of a milliwatt-hour carry over."""

    _remainder_mw_ms: int = 0

    def add(self, power_mw: int, duration_ms: int) -> int:
        """Return the whole mWh completed by this. Raises ValueError for negative values."""
        if power_mw < 0 or duration_ms < 0:
            raise ValueError(f"{power_mw} mW for {duration_ms} ms")
        energy_mwh, self._remainder_mw_ms = divmod(
            self._remainder_mw_ms + power_mw * duration_ms, _MW_MS_PER_MWH
        )
        return energy_mwh


class RegisterCounter(Struct):
    """The total of a meter whose register may restart, as when the meter is replaced.

    With a register that never did, the total equals it. A single reading that is too low is
    ignored; after a second one the register counts as restarted from zero.
    """

    total_mwh: int = 0
    register_mwh: int = 0
    is_in_doubt: bool = False

    def update(self, register_mwh: int) -> int:
        """Process a reading; return the energy since the last accepted one."""
        if register_mwh >= self.register_mwh:
            gained = register_mwh - self.register_mwh
        elif self.is_in_doubt:
            # One that shows more is not a count from zero, but another meter.
            gained = register_mwh if register_mwh <= _NEW_COUNT_MWH else 0
        else:
            self.is_in_doubt = True
            return 0
        self.is_in_doubt = False
        self.register_mwh = register_mwh
        self.total_mwh += gained
        return gained


class EnergyPeriod(Struct, frozen=True):
    """The energies imported and exported from `start` to `end`."""

    start: Instant
    end: Instant
    imported_mwh: int
    exported_mwh: int


class EnergyLedger(Struct, eq=False):
    """Totals that only rise, and the measurement periods that make them up.

    Periods follow each other without gaps, so their energies add up to the growth of the
    totals since `start`.
    """

    imported_mwh: int = 0
    exported_mwh: int = 0
    measured_at: Instant | None = None
    period: EnergyPeriod | None = None
    _start: Instant = Instant(None, 0)
    _start_imported_mwh: int = 0
    _start_exported_mwh: int = 0

    def start(self, imported_mwh: int, exported_mwh: int, at: Instant) -> None:
        """Set the totals and start the first period."""
        self.imported_mwh, self.exported_mwh = imported_mwh, exported_mwh
        self.measured_at = at
        self._open(at)

    def add(self, imported_mwh: int, exported_mwh: int, at: Instant) -> None:
        """Add the energy since the last call."""
        self.imported_mwh += imported_mwh
        self.exported_mwh += exported_mwh
        self.measured_at = at

    @property
    def period_ms(self) -> int:
        """The length of the current period."""
        return 0 if self.measured_at is None else self.measured_at.system_ms - self._start.system_ms

    def close_period(self) -> EnergyPeriod:
        """End the period at the last measurement, where the next one starts."""
        at = self.measured_at
        if at is None:
            raise RuntimeError("no measurement yet")
        self.period = EnergyPeriod(
            self._start,
            at,
            self.imported_mwh - self._start_imported_mwh,
            self.exported_mwh - self._start_exported_mwh,
        )
        self._open(at)
        return self.period

    def _open(self, at: Instant) -> None:
        self._start = at
        self._start_imported_mwh = self.imported_mwh
        self._start_exported_mwh = self.exported_mwh
