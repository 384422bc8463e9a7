"""Clusters of the charger's endpoint: EVSE, energy management and measurement."""
