"""Message counters: the next counter to send, and detection of duplicates.

Spec: Matter Core 1.3 "Message Counters"
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW_SIZE = 32
_WINDOW_MASK = (1 << WINDOW_SIZE) - 1
MAX_COUNTER = 0xFFFFFFFF
_HALF = 0x80000000


def initial_counter(random_bytes: Callable[[int], bytes]) -> int:
    """Return a random first counter, 1 to 2**28. Spec: Matter Core 1.3 "Message Counter Types"."""
    return (int.from_bytes(random_bytes(4), "little") & 0x0FFFFFFF) + 1


class GlobalCounter:
    """Counter of outgoing unencrypted messages, which rolls over.

    Spec: Matter Core 1.3 "Message Counter Types"
    """

    __slots__ = ("_value",)

    def __init__(self, first: int) -> None:
        self._value = first

    def next(self) -> int:
        """Return the counter for the next message."""
        value = self._value
        self._value = value + 1 & MAX_COUNTER
        return value


class ReceiveWindow:
    """The greatest counter received, and a bitmap of the 32 before it.

    Bit n of `_bitmap` represents counter `_maximum - n - 1`.
    Spec: Matter Core 1.3 "Message Counter Processing"
    """

    __slots__ = ("_bitmap", "_maximum")

    def __init__(self, maximum: int = 0, *, is_synchronized: bool = True) -> None:
        self._maximum = maximum if is_synchronized else -1
        self._bitmap = _WINDOW_MASK

    def accept_unicast(self, counter: int) -> bool:
        """Record an authenticated counter of a secure session; False for a duplicate."""
        ahead = counter - self._maximum
        if ahead == 1:
            self._bitmap = (self._bitmap << 1 | 1) & _WINDOW_MASK
            self._maximum = counter
            return True
        return self._accept(counter, ahead)

    def accept_unencrypted(self, counter: int) -> bool:
        """Record an unauthenticated counter; False only for a duplicate within the window.

        A counter far behind is new, since the peer may have restarted with a random counter.
        """
        if self._maximum < 0:
            self._trust(counter)
            return True
        ahead = (counter - self._maximum) & MAX_COUNTER
        if ahead >= _HALF:
            ahead -= MAX_COUNTER + 1
        if ahead < -WINDOW_SIZE:
            self._trust(counter)
            return True
        return self._accept(counter, ahead)

    def _trust(self, counter: int) -> None:
        self._maximum = counter
        self._bitmap = 0

    def _accept(self, counter: int, ahead: int) -> bool:
        if ahead > 0:
            # The old maximum enters the bitmap at bit ahead - 1.
            if ahead > WINDOW_SIZE:
                self._bitmap = 0
            else:
                self._bitmap = (self._bitmap << ahead | 1 << (ahead - 1)) & _WINDOW_MASK
            self._maximum = counter
            return True
        if ahead == 0 or ahead < -WINDOW_SIZE:
            return False
        bit = 1 << (-ahead - 1)
        if self._bitmap & bit:
            return False
        self._bitmap |= bit
        return True
