"""Packages that only some boards need, imported on demand."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from evse_node.errors import ConfigError


def load_extra(name: str, purpose: str) -> ModuleType:
    """Import a package of the extra "gpio". Raises ConfigError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise ConfigError(
            f"{purpose} needs the package '{package}'{reason}: "
            f"{sys.executable} -m pip install 'evse-node[gpio]'"
        ) from None
