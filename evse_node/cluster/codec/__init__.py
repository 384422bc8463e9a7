"""Encoding, decoding and validation of cluster values."""
