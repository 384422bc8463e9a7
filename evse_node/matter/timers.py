"""Deadlines without a clock: callbacks run in order of time, when told what time it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

Callback: TypeAlias = Callable[[float], None]

# Cancelled timers may stay in the queue up to this number, or half the queue if that is more.
_MIN_GARBAGE = 64


class Timer:
    """One pending call. `cancel` is cheap and may be repeated."""

    __slots__ = ("callback", "queue", "when")

    def __init__(self, queue: Timers, when: float, callback: Callback) -> None:
        # None once the timer is no longer in the queue.
        self.queue: Timers | None = queue
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make sure that the callback does not run any more."""
        if self.callback is not None:
            self.callback = None
            if self.queue is not None:
                self.queue.on_cancelled()


class Timers:
    """A queue of timers in monotonic seconds.

    The owner asks `deadline` when to come back and then calls `run`; a callback
    gets the `now` that was passed to `run`.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Run `callback(now)` in the first `run` whose `now` is not before `when`."""
        timer = Timer(self, when, callback)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def deadline(self) -> float | None:
        """Return when the earliest pending timer is due, or None when none is."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run all callbacks that are due. Timers set meanwhile wait for the next `run`.

        An exception of a callback passes through; those after it wait for the next `run`.
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
                # None: cancelled by a callback before it.
                if callback is not None:
                    callback(now)
        finally:
            for entry in due:
                if entry[2].callback is not None:
                    entry[2].queue = self
                    heapq.heappush(heap, entry)

    def on_cancelled(self) -> None:
        """Count a cancelled timer, and drop all such once they make up half the queue."""
        self._cancelled += 1
        if self._cancelled > _MIN_GARBAGE and 2 * self._cancelled > len(self._heap):
            # In place: `run` may be holding on to the list.
            self._heap[:] = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def __len__(self) -> int:
        return sum(1 for _, _, timer in self._heap if timer.callback is not None)
