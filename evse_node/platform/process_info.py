"""Facts of the machine and of this process, for the diagnostic clusters. Linux only.

What the kernel does not tell is None or 0, never an error. Asking it costs more than
all other attributes of a node together, so a fact may be a few seconds old.
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
_FRESH_S: Final = 5.0
# More than the kernel writes into any of its files that are read here.
_LONGEST: Final = 65536

_Fact = TypeVar("_Fact")


class RecentFact(Generic[_Fact]):
    """What `look` returns, not more than five seconds old."""

    def __init__(
        self, look: Callable[[], _Fact], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._seen: tuple[float, _Fact] | None = None

    def __call__(self) -> _Fact:
        """Return the fact."""
        now = self._clock()
        if self._seen is None or now >= self._seen[0] + _FRESH_S:
            self._seen = (now, self._look())
        return self._seen[1]

    def forget(self) -> None:
        """Look again next time."""
        self._seen = None


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
    """Take an interface's counters out of the kernel's table of all; see proc(5)."""
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
    """This process: its threads and its memory."""

    def __init__(self, process: Folder = _PROCESS, memory: Folder = _MEMORY) -> None:
        self._process = process
        self._memory = memory
        self._recent_threads = RecentFact(self._look_at_threads)
        self._recent_memory = RecentFact(self._look_at_memory)

    def threads(self) -> Sequence[Thread]:
        """Return the threads that run."""
        return self._recent_threads()

    def memory(self) -> Memory:
        """Return what memory is available, what is resident, and the most that was."""
        return self._recent_memory()

    def _look_at_threads(self) -> Sequence[Thread]:
        folder = f"{self._process}/task"
        try:
            tasks = sorted(int(task) for task in os.listdir(folder))
        except OSError:
            return []
        return [
            Thread(task, _read(f"{folder}/{task}/comm").decode(errors="replace")) for task in tasks
        ]

    def _look_at_memory(self) -> Memory:
        status = _read(f"{self._process}/status")
        available = _size(_read(self._memory), b"MemAvailable:")
        return Memory(available, _size(status, b"VmRSS:"), _size(status, b"VmHWM:"))

    def reset_peak(self) -> None:
        """Let the peak be what is resident now."""
        self._recent_memory.forget()
        with contextlib.suppress(OSError), open(f"{self._process}/clear_refs", "wb") as file:
            file.write(_RESET_PEAK)


def _read(file: Folder) -> bytes:
    """Return what a small file holds, without spaces around it; nothing when there is none.

    The kernel makes such a file when it is opened: open, read and close are all there is to it.
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
    """Return the bytes that a line "Name:  123 kB" tells of; 0 without such a line."""
    start = table.find(name)
    if start < 0:
        return 0
    words = table[start + len(name) : start + len(name) + 32].split(None, 2)
    return int(words[0]) * 1024 if len(words) > 1 and words[1][:2] == b"kB" else 0
