"""Deadlines without a clock: callbacks run in order of time, when told what time it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

Callback: TypeAlias = Callable[[float], None]


class Timer:
    """One pending call. `cancel` is cheap and may be repeated."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make sure that the callback does not run any more."""
        self.callback = None


class Timers:
    """A queue of timers in monotonic seconds.

    The owner asks `deadline` when to come back and then calls `run`; a callback
    gets the `now` that was passed to `run`.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Run `callback(now)` in the first `run` whose `now` is not before `when`."""
        timer = Timer(when, callback)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def deadline(self) -> float | None:
        """Return when the earliest pending timer is due, or None when none is."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run all callbacks that are due. Timers set meanwhile wait for the next `run`."""
        heap = self._heap
        due: list[Timer] = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        for timer in due:
            callback = timer.callback
            timer.callback = None
            if callback is not None:
                callback(now)

    def __len__(self) -> int:
        return sum(1 for _, _, timer in self._heap if timer.callback is not None)
