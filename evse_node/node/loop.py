"""An asyncio loop that calls one reader straight from its selector.

After a pause the processor's caches have forgotten the event loop, and a datagram that
takes the ordinary way through it (selection key, handle, context, queue) pays more for
the way than for its answer. The node's own process runs this loop; in another program's
loop the node does with `add_reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_Ts = TypeVarTuple("_Ts")

_NO_DESCRIPTOR: Final = -1
# Descriptors that one call of the kernel tells of: memory is laid out for so many each time.
_MOST_READY: Final = 16


class _DirectSelector(selectors.BaseSelector):
    """Selects by epoll, and keeps to itself what becomes of one descriptor.

    `direct` is called, again and again, for as long as nobody else has anything to do:
    until another descriptor is ready, the time is over, or `is_disturbed` was set.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[FileDescriptorLike, selectors.SelectorKey] = {}
        self._direct_descriptor = _NO_DESCRIPTOR
        self._direct: Callable[[], None] = _nothing
        self.on_error: Callable[[Exception], None] = _ignore
        self.is_disturbed = False

    @property
    def direct_descriptor(self) -> int | None:
        """The descriptor that `set_direct` was called for."""
        return None if self._direct_descriptor == _NO_DESCRIPTOR else self._direct_descriptor

    def set_direct(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` when this descriptor, which is not registered, can be read."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._direct_descriptor = descriptor
        self._direct = callback

    def clear_direct(self) -> None:
        """Undo `set_direct`."""
        if self._direct_descriptor != _NO_DESCRIPTOR:
            self._epoll.unregister(self._direct_descriptor)
        self._direct_descriptor = _NO_DESCRIPTOR
        self._direct = _nothing

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """Watch a descriptor. Raises KeyError if it is watched already."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        self._epoll.register(descriptor, _mask(events))
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Watch a descriptor no more. Raises KeyError if it was not watched."""
        descriptor = _descriptor(fileobj)
        key = self._keys.pop(descriptor)
        # Closed before, the kernel has forgotten it by itself.
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)
        return key

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """Watch a descriptor for something else. Raises KeyError if it was not watched."""
        descriptor = _descriptor(fileobj)
        if self._keys[descriptor].events != events:
            self._epoll.modify(descriptor, _mask(events))
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, and return who else can be served; see `selectors.BaseSelector`."""
        wait = -1.0 if timeout is None else max(timeout, 0.0)
        end = time.monotonic() + wait if wait > 0 else 0.0
        poll = self._epoll.poll
        direct = self._direct_descriptor
        self.is_disturbed = False
        while True:
            ready = poll(wait, _MOST_READY)
            others = []
            is_called = False
            for descriptor, mask in ready:
                if descriptor == direct:
                    is_called = True
                elif key := self._keys.get(descriptor):
                    events = _events(mask) & key.events
                    if events:
                        others.append((key, events))
            if is_called:
                try:
                    self._direct()
                except Exception as error:
                    self.on_error(error)
            if others or not is_called or self.is_disturbed:
                return others
            if wait >= 0:
                wait = end - time.monotonic()
                if wait <= 0:
                    return others
            direct = self._direct_descriptor

    def close(self) -> None:
        """Let go of the kernel's part."""
        self._epoll.close()
        self._keys.clear()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        """Return the keys of all descriptors that are watched, by descriptor."""
        return self._keys

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Return the key of a descriptor. Raises KeyError if it is not watched."""
        return self._keys[_descriptor(fileobj)]


class NodeLoop(asyncio.SelectorEventLoop):
    """The loop of a process that is a node."""

    def __init__(self) -> None:
        self._direct_selector = selector = _DirectSelector()
        super().__init__(selector)
        selector.on_error = self._on_direct_error

    def add_direct_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `descriptor` can be read, outside of any task.

        There is one such reader; while there is, others are ordinary ones.
        """
        if self._direct_selector.direct_descriptor is None:
            self._direct_selector.set_direct(descriptor, callback)
        else:
            self.add_reader(descriptor, callback)

    def remove_direct_reader(self, descriptor: int) -> None:
        """Undo `add_direct_reader`. May be repeated."""
        if self._direct_selector.direct_descriptor == descriptor:
            self._direct_selector.clear_direct()
        else:
            self.remove_reader(descriptor)

    def _on_direct_error(self, error: Exception) -> None:
        self.call_exception_handler({"message": "Exception in direct reader", "exception": error})

    # What the direct reader sets going is to go on before the next datagram.

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Queue a callback; see `asyncio.AbstractEventLoop`."""
        self._direct_selector.is_disturbed = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Queue a callback for a time; see `asyncio.AbstractEventLoop`."""
        self._direct_selector.is_disturbed = True
        return super().call_at(when, callback, *args, context=context)


def _nothing() -> None:
    """Do nothing."""


def _ignore(error: Exception) -> None:
    """Do nothing about an error."""


def _descriptor(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _mask(events: int) -> int:
    return (select.EPOLLIN if events & selectors.EVENT_READ else 0) | (
        select.EPOLLOUT if events & selectors.EVENT_WRITE else 0
    )


def _events(mask: int) -> int:
    """Return the events of an epoll mask; an error or a hang-up is both, as in `selectors`."""
    return (selectors.EVENT_READ if mask & ~select.EPOLLOUT else 0) | (
        selectors.EVENT_WRITE if mask & ~select.EPOLLIN else 0
    )
