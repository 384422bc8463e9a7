"""Former home of `evse_node.testing.backend_contract`; importing it warns."""

from __future__ import annotations

import warnings

from evse_node.testing.backend_contract import CHECKS, Bench, Done, run_check

__all__ = ["CHECKS", "Bench", "Done", "run_check"]

warnings.warn(
    "evse_node.hal.contract is deprecated, import evse_node.testing.backend_contract",
    DeprecationWarning,
    stacklevel=2,
)
