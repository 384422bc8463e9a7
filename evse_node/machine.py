"""Facts of the machine and of this process, for the diagnostic clusters. Linux only.

What the kernel does not tell is None or 0, never an error. Asking it costs more than
all other attributes of a node together, so a fact may be a few seconds old.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from evse_node.cluster.ethernet_network_diagnostics import EthernetCounters, EthernetStatus
from evse_node.cluster.software_diagnostics import Memory, Thread

_NETWORK: Final = Path("/sys/class/net")
_PROCESS: Final = Path("/proc/self")
_MEMORY: Final = Path("/proc/meminfo")
_RESET_PEAK: Final = "5"  # for clear_refs, see proc(5)
_FRESH_S: Final = 2.0

_Fact = TypeVar("_Fact")


class RecentFact(Generic[_Fact]):
    """What `look` returns, not more than two seconds old."""

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


def read_ethernet(name: str, network: Path = _NETWORK) -> EthernetStatus:
    """Return rate, duplex, carrier and counters of an interface."""
    folder = network / name
    rate = _number(folder / "speed")
    duplex = _text(folder / "duplex")
    carrier = _number(folder / "carrier")

    def count(counter: str) -> int:
        return _number(folder / "statistics" / counter) or 0

    return EthernetStatus(
        rate_mbps=rate if rate is not None and rate > 0 else None,
        is_full_duplex={"full": True, "half": False}.get(duplex),
        has_carrier=None if carrier is None else carrier == 1,
        counters=EthernetCounters(
            received=count("rx_packets"),
            sent=count("tx_packets"),
            send_errors=count("tx_errors"),
            collisions=count("collisions"),
            overruns=count("rx_over_errors"),
        ),
    )


class Process:
    """This process: its threads and its memory."""

    def __init__(self, process: Path = _PROCESS, memory: Path = _MEMORY) -> None:
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
        tasks = sorted(int(task.name) for task in (self._process / "task").glob("[0-9]*"))
        return [Thread(task, _text(self._process / f"task/{task}/comm")) for task in tasks]

    def _look_at_memory(self) -> Memory:
        status = _table(self._process / "status")
        available = _table(self._memory).get("MemAvailable", 0)
        return Memory(available, status.get("VmRSS", 0), status.get("VmHWM", 0))

    def reset_peak(self) -> None:
        """Let the peak be what is resident now."""
        self._recent_memory.forget()
        with contextlib.suppress(OSError):
            (self._process / "clear_refs").write_text(_RESET_PEAK)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(_text(file))
    except ValueError:
        return None


def _table(file: Path) -> dict[str, int]:
    """Return the lines "Name: 123 kB" in bytes."""
    found: dict[str, int] = {}
    for line in _text(file).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found
