"""The charger's state machine: pure functions over frozen state, without I/O or clock."""
