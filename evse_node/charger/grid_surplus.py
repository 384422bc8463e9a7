"""Solar surplus from a meter at the grid connection.

The charger's own draw is added to the power fed into the grid, so that a vehicle charging from
the surplus does not reduce it.
"""

from __future__ import annotations

import logging
from typing import Final

from evse_node.charger.meter_filter import is_grid_power
from evse_node.charger.solar_controller import SolarController
from evse_node.charger.surplus_estimator import SurplusEstimator
from evse_node.errors import HalError
from evse_node.hal.interface import GridMeter, MeterValues
from evse_node.units import Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

_INTERVAL_S: Final = 5.0
"""The duty cycle may not change more often, so polling faster is of no use."""
_VALID_S: Final = 30.0
"""Validity of the last surplus when the meter stops answering."""


class GridSurplus:
    """Poller of the grid meter that feeds a solar controller."""

    def __init__(self, meter: GridMeter, solar: SolarController) -> None:
        self._meter = meter
        self._solar = solar
        self._poll_at = 0.0
        self._is_lost = False
        self._estimator = SurplusEstimator(solar.settings.meter_delay_s)

    def next_deadline(self) -> float | None:
        """Return when to poll again (monotonic seconds), or None while solar charging is off."""
        return self._poll_at if self._solar.is_enabled else None

    def poll(self, own: MeterValues | None, now: float) -> None:
        """Read the meter if it is due. `own` is the reading of the charger's meter.

        Without it, the charger's share of the grid power is unknown and no surplus is set.
        """
        if own is not None:
            self._estimator.observe_own(own.power_mw, now)
        if not self._solar.is_enabled or now < self._poll_at:
            return
        self._poll_at = now + _INTERVAL_S
        try:
            grid_mw = self._meter.read_grid_power_mw()
            if not is_grid_power(grid_mw):
                raise HalError(f"it reports {grid_mw} mW")
        except Exception as error:
            # No error of a meter, or of its driver, may interrupt the charger.
            self._lose(repr(error), None if isinstance(error, HalError) else error)
            return
        surplus_mw = None if own is None else self._estimator.estimate(grid_mw, now)
        if self._estimator.is_frozen:
            self._lose("its value does not move while the charger's power does", None)
            return
        if self._is_lost:
            _LOGGER.info("grid meter answers again")
        self._is_lost = False
        if surplus_mw is not None:
            self._solar.set_surplus(Milliwatts(surplus_mw), now, _VALID_S)

    def _lose(self, reason: str, defect: Exception | None) -> None:
        """Report once that the meter is lost; its last surplus expires."""
        if not self._is_lost:
            _LOGGER.error("grid meter lost: %s", reason, exc_info=defect)
        self._is_lost = True
