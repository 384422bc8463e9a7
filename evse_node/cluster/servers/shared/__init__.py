"""Clusters that any endpoint can have."""
