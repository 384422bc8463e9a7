"""Simulated hardware: a charger and an electric vehicle."""
