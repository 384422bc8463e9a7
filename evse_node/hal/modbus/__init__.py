"""Modbus: buses shared by devices, and meters."""
