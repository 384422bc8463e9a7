"""Ready-made EVSE controllers that the node commands over a serial line or a network.

The controller drives pilot and contactor and answers for safety; `controller` is the
backend that they share, and each protocol is a `Link` below it.
"""
