"""EVSE controllers on Modbus, each described by a register map."""
