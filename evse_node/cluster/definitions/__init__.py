"""Cluster definitions, read from XML."""
