"""Clusters of the root endpoint."""
