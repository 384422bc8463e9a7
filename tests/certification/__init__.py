"""Runner of the Matter SDK's certification scripts; see __main__.py."""
