"""Former home of `load_board` of `evse_node.hal.gpio.board`; importing it warns."""

from __future__ import annotations

import warnings

from evse_node.hal.gpio.board import board_names, load_board

__all__ = ["board_names", "load_board"]

warnings.warn(
    "evse_node.hal.gpio.board_file is deprecated, import evse_node.hal.gpio.board",
    DeprecationWarning,
    stacklevel=2,
)
