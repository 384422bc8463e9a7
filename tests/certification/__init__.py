"""Runs the Matter SDK's own certification scripts against the node; see __main__.py."""
