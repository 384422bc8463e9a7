"""A Matter device node for EV chargers."""

__version__ = "0.2.0"
