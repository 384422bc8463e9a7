"""External EVSE controllers, commanded over a serial line or a network.

The controller drives pilot and contactor and is responsible for safety. `backend` is common to
all controllers; each protocol is a `Link` below it.
"""
