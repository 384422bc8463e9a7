"""Tells Software Diagnostics of defects: of what was logged as an error with an exception.

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
"""Whoever finds a way to provoke a defect is not to push other events out of the node's log."""
_MAX_FRAMES: Final = 16


class CrashReporter(logging.Handler):
    """Calls `tell` with the thread and a recording of a defect, one a minute at most.

    `call` runs a function in the node's thread, later: an error may be logged in any
    thread, and in the middle of anything.
    """

    def __init__(
        self,
        tell: Callable[[Thread, bytes], None],
        call: Callable[[Callable[[], None]], None],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell
        self._call = call
        self._monotonic = monotonic
        self._quiet_until = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Take an entry; called with the handler's lock held."""
        if not record.exc_info or record.exc_info[0] is None:
            return
        now = self._monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _INTERVAL_S
        kind, _, trace = record.exc_info
        thread = Thread(get_native_id(), record.threadName or "")
        recording = _recording(kind, trace)
        self._call(lambda: self._tell(thread, recording))


def _recording(kind: type[BaseException], trace: TracebackType | None) -> bytes:
    """Return what happened and where, the innermost frame first.

    Without the exception's text, which may hold a value that is nobody's business.
    """
    frames = deque(walk_tb(trace), maxlen=_MAX_FRAMES)
    places = [
        f"{basename(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"
        for frame, line in reversed(frames)
    ]
    return "\n".join([kind.__name__, *places]).encode(errors="replace")
