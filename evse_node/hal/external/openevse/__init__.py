"""OpenEVSE controllers on a serial port, over RAPI."""
