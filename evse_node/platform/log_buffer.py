"""The end of the node's log, kept in memory for Diagnostic Logs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from evse_node.cluster.servers.root.diagnostic_logs import Intent, LogEntry

CAPACITY: Final = 128 * 1024
_MAX_ENTRY: Final = 8 * 1024
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Loggers of network diagnostics.
_NETWORK: Final = (
    "evse_node.platform.dns_sd",
    "evse_node.platform.interfaces",
    "evse_node.matter",
    "evse_node.node.runtime",
)


class LogBuffer(logging.Handler):
    """Logging handler that stores the newest entries, up to `capacity` bytes of text.

    `utc_us` and `monotonic` are the node's clocks; its start is when the buffer is created.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        utc_us: Callable[[], int | None],
        capacity: int = CAPACITY,
    ) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self._monotonic = monotonic
        self._utc_us = utc_us
        self._start = monotonic()
        self._capacity = capacity
        self._size = 0
        self._entries: deque[tuple[frozenset[Intent], LogEntry]] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Store an entry; called with the handler's lock held."""
        try:
            text = self.format(record).encode(errors="replace")[:_MAX_ENTRY] + b"\n"
        except Exception:
            # A wrong format must not raise in the caller.
            self.handleError(record)
            return
        system_us = int((self._monotonic() - self._start) * 1e6)
        # Not the record itself, whose traceback would keep frames alive.
        self._entries.append((_intents(record), LogEntry(text, self._utc_us(), system_us)))
        self._size += len(text)
        while self._size > self._capacity:
            self._size -= len(self._entries.popleft()[1].text)

    def read(self, intent: Intent) -> Sequence[LogEntry]:
        """Return the entries for a purpose, oldest first."""
        self.acquire()
        try:
            return [entry for intents, entry in self._entries if intent in intents]
        finally:
            self.release()


def _intents(record: logging.LogRecord) -> frozenset[Intent]:
    intents = {Intent.END_USER_SUPPORT}
    if record.name.startswith(_NETWORK):
        intents.add(Intent.NETWORK_DIAG)
    if record.exc_info or record.levelno >= logging.CRITICAL:
        intents.add(Intent.CRASH_LOGS)
    return frozenset(intents)
