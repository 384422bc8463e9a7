"""A Matter device node for EV chargers."""

__version__ = "0.1.0"
