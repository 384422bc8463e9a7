"""Cluster definitions from XML, and the servers that give them behaviour."""
