"""The local control API."""
