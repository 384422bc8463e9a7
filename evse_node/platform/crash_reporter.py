"""Reports crashes, which are errors logged with an exception, to Software Diagnostics.

Spec: Matter Core 1.3 "SoftwareFault Event"
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from os.path import basename
from threading import get_native_id
from traceback import walk_tb
from types import TracebackType
from typing import Final

from evse_node.cluster.servers.root.software_diagnostics import Thread

_INTERVAL_S: Final = 60.0
"""Rate limit: a repeatable crash must not flush other events out of the log."""
_MAX_FRAMES: Final = 16


class CrashReporter(logging.Handler):
    """Logging handler that calls `report` with thread and trace of a crash, once a minute at most.

    `call` runs a function in the node's thread later, since an error may be logged in any
    thread, and while any lock is held.
    """

    def __init__(
        self,
        report: Callable[[Thread, bytes], None],
        call: Callable[[Callable[[], None]], None],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(logging.ERROR)
        self._report = report
        self._call = call
        self._monotonic = monotonic
        self._next_report = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record with an exception; called with the handler's lock held."""
        if not record.exc_info or record.exc_info[0] is None:
            return
        now = self._monotonic()
        if now < self._next_report:
            return
        self._next_report = now + _INTERVAL_S
        kind, _, frames = record.exc_info
        thread = Thread(get_native_id(), record.threadName or "")
        trace = _trace(kind, frames)
        self._call(lambda: self._report(thread, trace))


def _trace(kind: type[BaseException], traceback: TracebackType | None) -> bytes:
    """Return the exception's type and places, the innermost frame first.

    The exception's text is left out, since it may hold a secret.
    """
    frames = deque(walk_tb(traceback), maxlen=_MAX_FRAMES)
    places = [
        f"{basename(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"
        for frame, line in reversed(frames)
    ]
    return "\n".join([kind.__name__, *places]).encode(errors="replace")
