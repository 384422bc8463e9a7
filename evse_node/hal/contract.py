"""Former home of `evse_node.testing.backend_contract`; importing it warns."""

from __future__ import annotations

import importlib
import warnings

warnings.warn(
    "evse_node.hal.contract is deprecated, import evse_node.testing.backend_contract",
    DeprecationWarning,
    stacklevel=2,
)


def __getattr__(name: str) -> object:
    # Looked up late: the hardware layer does not depend on what tests it.
    return getattr(importlib.import_module("evse_node.testing.backend_contract"), name)
