"""Retransmission times of the Message Reliability Protocol.

Spec: Matter Core 1.3 "Message Reliability Protocol (MRP)"
"""

from __future__ import annotations

BACKOFF_BASE = 1.6
BACKOFF_JITTER = 0.25
BACKOFF_MARGIN = 1.1
BACKOFF_THRESHOLD = 1
MAX_TRANSMISSIONS = 5
STANDALONE_ACK_TIMEOUT_S = 0.2
SOONEST_RETRY = BACKOFF_MARGIN * 0.001
"""The least time until the first retransmission, in seconds per millisecond of interval."""

# Waiting times after transmission 0, 1, ... in units of the interval, without jitter.
_FACTORS = tuple(
    BACKOFF_MARGIN * BACKOFF_BASE ** max(0, transmission - BACKOFF_THRESHOLD)
    for transmission in range(MAX_TRANSMISSIONS)
)


def backoff_s(interval_ms: int, transmission: int, fraction: float) -> float:
    """Return the time until the next retransmission, in seconds.

    `interval_ms` is the peer's active or idle interval, `transmission` the number of
    earlier transmissions (0 to 4), `fraction` a random number from 0 to 1.
    Spec: Matter Core 1.3 "Retransmissions"
    """
    return interval_ms * 0.001 * _FACTORS[transmission] * (1.0 + BACKOFF_JITTER * fraction)
