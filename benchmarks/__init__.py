"""Comparisons and load runs; see compare.py and fuzz.py."""
