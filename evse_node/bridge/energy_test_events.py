"""Test event triggers of Device Energy Management: forecasts and capabilities from a script.

While a script is in place, the charger gets no orders: tests adjust, pause and forecast without
a vehicle.

Spec: Matter Core 1.3 "TestEventTrigger Command"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from evse_node.energy_management.appliance import Appliance
from evse_node.energy_management.enums import AdjustmentCause
from evse_node.energy_management.forecast import Forecast, PowerRange, Slot, SlotLimits
from evse_node.energy_management.requests import (
    OptOutChanged,
    PowerOption,
    Script,
    ScriptChanged,
)
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts

CLUSTER_ID: Final = 0x0098

_POWER: Final = PowerRange(Milliwatts(1_200_000), Milliwatts(30_000_000))
_SLOT_POWER: Final = PowerRange(Milliwatts(1_200_000), Milliwatts(7_600_000))
_OPTION: Final = PowerOption(PowerRange(Milliwatts(5_000_000), _POWER.maximum_mw), 10, 60)
_LIMITS: Final = SlotLimits(_SLOT_POWER, 120, 240)
_NOMINAL: Final = Milliwatts(2_500_000)
_LENGTH_S: Final = 24 * 3600
_SHIFT_S: Final = 60
_FIRST_ESA_STATE: Final = 23


class EnergyTestEvents:
    """Test event triggers of one appliance. `user_opt_out` returns the opt-outs without a test."""

    def __init__(
        self,
        appliance: Appliance,
        *,
        epoch_s: Callable[[], EpochSeconds | None],
        user_opt_out: Callable[[], frozenset[AdjustmentCause]],
    ) -> None:
        self._appliance = appliance
        self._epoch_s = epoch_s
        self._user_opt_out = user_opt_out
        self._scenarios: Mapping[int, Callable[[float], None]] = {
            0x00: lambda now: self._begin(now, options=(_OPTION,)),
            0x01: lambda now: self._continue(now, options=()),
            0x02: lambda now: self._opt_out(AdjustmentCause.LOCAL, now),
            0x03: lambda now: self._opt_out(AdjustmentCause.GRID, now),
            0x04: self._opt_in,
            0x05: self._start_time,
            0x06: self._clear_forecast,
            0x07: lambda now: self._begin(now, forecast=self._forecast(2)),
            0x08: self._next_slot,
            0x09: self._clear_forecast,
            0x0A: self._adjustable,
            0x0B: self._next_slot,
            0x0C: self._clear_forecast,
            0x0D: lambda now: self._begin(now, forecast=self._forecast(4)),
            0x0E: self._clear_forecast,
            0x0F: lambda now: self._begin(now, forecast=self._forecast(2)),
            0x10: self._clear_forecast,
        }

    @property
    def triggers(self) -> Mapping[int, Callable[[float], None]]:
        """Actions by 64-bit EventTrigger with endpoint bits zero, called with `now`."""
        return {CLUSTER_ID << 48 | code: action for code, action in self._scenarios.items()}

    # Scripts

    def _begin(
        self,
        now: float,
        *,
        options: tuple[PowerOption, ...] | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        """Install a script, and discard the opt-outs of an earlier test."""
        self._appliance.handle(OptOutChanged(frozenset()), now)
        self._continue(now, options=options, forecast=forecast)

    def _continue(
        self,
        now: float,
        *,
        options: tuple[PowerOption, ...] | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        before = self._appliance.state.script or Script(_POWER)
        script = replace(
            before,
            options=before.options if options is None else options,
            forecast=before.forecast if forecast is None else forecast,
        )
        self._set(script, now)

    def _set(self, script: Script, now: float) -> None:
        is_empty = not script.options and script.forecast is None
        self._appliance.handle(ScriptChanged(None if is_empty else script), now)
        if is_empty:
            self._appliance.handle(OptOutChanged(self._user_opt_out()), now)

    def _clear_forecast(self, now: float) -> None:
        before = self._appliance.state.script or Script(_POWER)
        self._set(replace(before, forecast=None), now)

    def _forecast(self, slots: int) -> Forecast | None:
        """Return a forecast that starts in a minute, or None while the clock is unknown."""
        epoch_s = self._epoch_s()
        if epoch_s is None:
            return None
        end_time = EpochSeconds(epoch_s + _LENGTH_S)
        return Forecast(
            id=0,
            start_time=EpochSeconds(epoch_s + _SHIFT_S),
            end_time=end_time,
            latest_end_time=end_time,
            slots=tuple(_slot(index) for index in range(slots)),
            earliest_start_time=epoch_s,
            active_slot=0,
        )

    def _start_time(self, now: float) -> None:
        forecast, epoch_s = self._forecast(2), self._epoch_s()
        if forecast is not None and epoch_s is not None:
            forecast = replace(
                forecast,
                start_time=epoch_s,
                earliest_start_time=EpochSeconds(epoch_s - _SHIFT_S),
                latest_end_time=EpochSeconds(forecast.end_time + _SHIFT_S),
            )
        self._begin(now, forecast=forecast)

    def _adjustable(self, now: float) -> None:
        forecast = self._forecast(2)
        if forecast is not None:
            first, *others = forecast.slots
            forecast = replace(forecast, slots=(replace(first, limits=_LIMITS), *others))
        self._begin(now, forecast=forecast)

    def _next_slot(self, now: float) -> None:
        script = self._appliance.state.script
        if script is not None and script.forecast is not None:
            forecast = script.forecast
            active_slot = min((forecast.active_slot or 0) + 1, len(forecast.slots) - 1)
            self._continue(now, forecast=replace(forecast, active_slot=active_slot))

    # Opt-outs

    def _opt_out(self, cause: AdjustmentCause, now: float) -> None:
        self._appliance.handle(OptOutChanged(self._appliance.state.opted_out | {cause}), now)

    def _opt_in(self, now: float) -> None:
        self._appliance.handle(OptOutChanged(frozenset()), now)


def _slot(index: int) -> Slot:
    """Return a slot twice as long as the previous one; every other can be paused."""
    factor = 1 << index
    is_pausable = index % 2 == 0
    return Slot(
        duration_s=15 * factor,
        shortest_s=10 * factor,
        longest_s=20 * factor,
        power_mw=_NOMINAL,
        power=_SLOT_POWER,
        energy_mwh=MilliwattHours(2000 * factor),
        esa_state=_FIRST_ESA_STATE + index,
        is_pausable=is_pausable,
        shortest_pause_s=10,
        longest_pause_s=60,
    )
