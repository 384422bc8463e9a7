"""The charger itself: pure functions over frozen state. Knows only units and errors."""
