"""What a meter at the house's connection says of the sun: what is fed in, or would be.

The power that the charger itself takes is added back, so that a vehicle which already charges
from the surplus does not take it for used up.
"""

from __future__ import annotations

import logging
from typing import Final

from evse_node.charger.solar_controller import SolarController
from evse_node.errors import HalError
from evse_node.hal.interface import GridMeter, MeterValues
from evse_node.units import Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

_INTERVAL_S: Final = 5.0
"""A duty cycle may change no more often, so there is no use in looking more often."""
_VALID_S: Final = 30.0
"""How long the last surplus counts when the meter falls silent."""


class GridSurplus:
    """Reads a meter at the connection, and tells a follower of the sun."""

    def __init__(self, meter: GridMeter, solar: SolarController) -> None:
        self._meter = meter
        self._solar = solar
        self._looks_at = 0.0
        self._is_lost = False

    def next_deadline(self) -> float | None:
        """Return when to look again (monotonic seconds), or None while nobody follows."""
        return self._looks_at if self._solar.is_enabled else None

    def poll(self, own: MeterValues | None, now: float) -> None:
        """Read the meter if it is time. `own` is what the charger's meter shows.

        Without it, nobody knows what of the house's power is the charger's.
        """
        if not self._solar.is_enabled or now < self._looks_at:
            return
        self._looks_at = now + _INTERVAL_S
        try:
            grid_mw = self._meter.read_grid_power_mw()
        except Exception as error:
            # Lost, or a mistake in the backend: neither may end the turn.
            if not self._is_lost:
                is_mistake = not isinstance(error, HalError)
                _LOGGER.error("the grid's meter is lost: %r", error, exc_info=is_mistake)
            self._is_lost = True
            return
        if self._is_lost:
            _LOGGER.info("the meter at the grid connection answers again")
        self._is_lost = False
        if own is not None:
            self._solar.report(Milliwatts(own.power_mw - grid_mw), now, _VALID_S)
