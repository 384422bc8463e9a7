"""Data about the machine and this process, for the diagnostic clusters. Linux only.

Data that the kernel does not provide is None or 0, never an error. Reading it costs more than
all other attributes of a node together, so it is cached for a few seconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from evse_node.cluster.servers.root.ethernet_network_diagnostics import (
    EthernetCounters,
    EthernetStatus,
)
from evse_node.cluster.servers.root.software_diagnostics import Memory, Thread

Folder: TypeAlias = str | os.PathLike[str]

_LINKS: Final = "/sys/class/net"
_PROCESS: Final = "/proc/self"
_MEMORY: Final = "/proc/meminfo"
_RESET_PEAK: Final = b"5"  # for clear_refs, see proc(5)
_MAX_AGE_S: Final = 5.0
# Larger than any of the files that are read here.
_LONGEST: Final = 65536

_Value = TypeVar("_Value")


class Cached(Generic[_Value]):
    """Result of `read`, at most five seconds old."""

    def __init__(
        self, read: Callable[[], _Value], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._last: tuple[float, _Value] | None = None

    def __call__(self) -> _Value:
        """Return the value."""
        now = self._clock()
        if self._last is None or now >= self._last[0] + _MAX_AGE_S:
            self._last = (now, self._read())
        return self._last[1]

    def invalidate(self) -> None:
        """Read again on the next call."""
        self._last = None


def read_ethernet(name: str, links: Folder = _LINKS, process: Folder = _PROCESS) -> EthernetStatus:
    """Return rate, duplex, carrier and counters of an interface."""
    rate = _number(f"{links}/{name}/speed")
    duplex = _read(f"{links}/{name}/duplex")
    carrier = _number(f"{links}/{name}/carrier")
    return EthernetStatus(
        rate_mbps=rate if rate is not None and rate > 0 else None,
        is_full_duplex={b"full": True, b"half": False}.get(duplex),
        has_carrier=None if carrier is None else carrier == 1,
        counters=_counters(name, _read(f"{process}/net/dev")),
    )


def _counters(name: str, table: bytes) -> EthernetCounters:
    """Return an interface's counters from the kernel's table; see proc(5)."""
    for line in table.splitlines():
        interface, _, columns = line.partition(b":")
        if interface.strip() == name.encode():
            # Receive: bytes, packets, errors, dropped, fifo, frame, compressed, multicast;
            # transmit: bytes, packets, errors, dropped, fifo, collisions, carrier, compressed.
            values = [int(column) for column in columns.split()]
            if len(values) >= 14:
                return EthernetCounters(
                    received=values[1],
                    sent=values[9],
                    send_errors=values[10],
                    collisions=values[13],
                    overruns=values[4],
                )
    return EthernetCounters()


class Process:
    """Threads and memory of this process."""

    def __init__(self, process: Folder = _PROCESS, memory: Folder = _MEMORY) -> None:
        self._process = process
        self._memory = memory
        self._threads = Cached(self._read_threads)
        self._memory_now = Cached(self._read_memory)

    def threads(self) -> Sequence[Thread]:
        """Return the running threads."""
        return self._threads()

    def memory(self) -> Memory:
        """Return available and resident memory, and its peak."""
        return self._memory_now()

    def _read_threads(self) -> Sequence[Thread]:
        folder = f"{self._process}/task"
        try:
            tasks = sorted(int(task) for task in os.listdir(folder))
        except OSError:
            return []
        return [
            Thread(task, _read(f"{folder}/{task}/comm").decode(errors="replace")) for task in tasks
        ]

    def _read_memory(self) -> Memory:
        status = _read(f"{self._process}/status")
        available = _size(_read(self._memory), b"MemAvailable:")
        return Memory(available, _size(status, b"VmRSS:"), _size(status, b"VmHWM:"))

    def reset_peak(self) -> None:
        """Reset the peak to the present resident size."""
        self._memory_now.invalidate()
        with contextlib.suppress(OSError), open(f"{self._process}/clear_refs", "wb") as file:
            file.write(_RESET_PEAK)


def _read(file: Folder) -> bytes:
    """Return the stripped content of a small file; empty without such a file.

    Such files of the kernel are complete after one read, which `open` and `with` would exceed.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _LONGEST).strip()
    except OSError:  # the rate of an interface that is down, for one
        return b""
    finally:
        os.close(descriptor)


def _number(file: Folder) -> int | None:
    try:
        return int(_read(file))
    except ValueError:
        return None


def _size(table: bytes, name: bytes) -> int:
    """Return the bytes in a line "Name:  123 kB"; 0 without such a line."""
    start = table.find(name)
    if start < 0:
        return 0
    words = table[start + len(name) : start + len(name) + 32].split(None, 2)
    return int(words[0]) * 1024 if len(words) > 1 and words[1][:2] == b"kB" else 0
