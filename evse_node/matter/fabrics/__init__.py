"""Fabrics, access control, groups and commissioning."""
