"""What a controller on Modbus does by itself when this node is not there: said in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from evse_node.hal.external.modbus.registers import Address, ControllerMap
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)


def log_fallback(chart: ControllerMap, fallback_s: float, words: Mapping[Address, int]) -> None:
    """Log what a controller does should this node die.

    `fallback_s` is after which silence, where it is told that; `words` is what it keeps.
    """
    fallback = chart.fallback
    if fallback.has_timeout:
        after_s = fallback_s if fallback.after is not None else fallback.after_s
        current_ma = fallback.current_ma
        if fallback.current is not None:
            current_ma = Milliamps(fallback.current.milli(words))
        _LOGGER.info(
            "%s falls back to %s mA after %s s without this node",
            chart.name,
            current_ma,
            after_s,
        )
    else:
        _LOGGER.warning(
            "%s goes on with its last orders should this node die: it knows no timeout",
            chart.name,
        )
    if fallback.restart_current is not None:
        _LOGGER.info(
            "%s offers %d mA after a restart of its own",
            chart.name,
            fallback.restart_current.milli(words),
        )
