"""Cluster servers, one module per cluster of the specification."""
