"""Timers without a clock: the caller passes the current time, and due callbacks run in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

Callback: TypeAlias = Callable[[float], None]

# Cancelled timers are purged when there are more than this, and more than half the queue.
_MIN_GARBAGE = 64


class Timer:
    """A pending callback. `cancel` is cheap and idempotent."""

    __slots__ = ("callback", "queue", "when")

    def __init__(self, queue: Timers, when: float, callback: Callback) -> None:
        # None once the timer has left the queue.
        self.queue: Timers | None = queue
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Prevent the callback from running."""
        if self.callback is not None:
            self.callback = None
            if self.queue is not None:
                self.queue.on_cancelled()


class Timers:
    """Queue of timers, in monotonic seconds.

    The owner calls `run` at the time that `deadline` returns; callbacks receive the `now`
    that was passed to `run`.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call `callback(now)` in the first `run` whose `now` is not before `when`."""
        timer = Timer(self, when, callback)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def deadline(self) -> float | None:
        """Return when the earliest pending timer is due, or None."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run all callbacks that are due. Timers added meanwhile wait for the next `run`.

        An exception from a callback propagates; the remaining callbacks wait for the next `run`.
        """
        heap = self._heap
        due: list[tuple[float, int, Timer]] = []
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            entry[2].queue = None
            if entry[2].callback is None:
                self._cancelled -= 1
            else:
                due.append(entry)
        due.reverse()
        try:
            while due:
                timer = due.pop()[2]
                callback = timer.callback
                timer.callback = None
                # None: an earlier callback cancelled it.
                if callback is not None:
                    callback(now)
        finally:
            for entry in due:
                if entry[2].callback is not None:
                    entry[2].queue = self
                    heapq.heappush(heap, entry)

    def on_cancelled(self) -> None:
        """Count a cancelled timer; purge cancelled timers once they are half the queue."""
        self._cancelled += 1
        if self._cancelled > _MIN_GARBAGE and 2 * self._cancelled > len(self._heap):
            # In place, because `run` may hold a reference to the list.
            self._heap[:] = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def __len__(self) -> int:
        return sum(1 for _, _, timer in self._heap if timer.callback is not None)


class Deadline:
    """A callback at a time that can be moved. Without timers it is never called."""

    __slots__ = ("_callback", "_timer", "_timers")

    def __init__(self, timers: Timers | None, callback: Callback) -> None:
        self._timers = timers
        self._callback = callback
        self._timer: Timer | None = None

    def set(self, when: float | None) -> None:
        """Call back at this time (monotonic seconds) only, or not at all with None."""
        timer = self._timer
        if self._timers is None or (
            timer is not None and timer.callback is not None and timer.when == when
        ):
            return
        if timer is not None:
            timer.cancel()
        self._timer = None if when is None else self._timers.call_at(when, self._callback)
