"""The command line, `evse-node`."""
