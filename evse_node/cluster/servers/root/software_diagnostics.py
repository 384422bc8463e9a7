"""Software Diagnostics: threads and memory of the node's process.

Spec: Matter Core 1.3 "Software Diagnostics Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.matter.data_model import InteractionContext

_MAX_THREADS: Final = 64
_MAX_NAME: Final = 8
_MAX_RECORDING: Final = 1024


class Thread(NamedTuple):
    """A running thread: its unique id and its name."""

    id: int
    name: str


class Memory(NamedTuple):
    """Memory in bytes: available, used, and the peak of use."""

    free: int
    used: int
    peak: int


class ProcessFacts(Protocol):
    """Threads and memory of the process."""

    def threads(self) -> Sequence[Thread]:
        """Return the running threads."""

    def memory(self) -> Memory:
        """Return the memory in use and available."""

    def reset_peak(self) -> None:
        """Reset the peak to the present use."""


@serves("Software Diagnostics")
class SoftwareDiagnosticsServer(ClusterServer):
    """The facts of `process`."""

    def __init__(self, definition: ClusterDefinition, process: ProcessFacts) -> None:
        super().__init__(
            definition,
            features=["WTRMRK"],
            optional=["ThreadMetrics", "CurrentHeapFree", "CurrentHeapUsed", "SoftwareFault"],
        )
        self._process = process

    @reader
    def thread_metrics(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        """Return the threads; the use of their stacks is unknown."""
        threads = self._process.threads()[:_MAX_THREADS]
        return [{"id": thread.id, "name": _cut(thread.name)} for thread in threads]

    @reader
    def current_heap_free(self, context: InteractionContext) -> int:
        return self._process.memory().free

    @reader
    def current_heap_used(self, context: InteractionContext) -> int:
        return self._process.memory().used

    @reader
    def current_heap_high_watermark(self, context: InteractionContext) -> int:
        memory = self._process.memory()
        return max(memory.peak, memory.used)

    @command
    def reset_watermarks(self, context: InteractionContext) -> None:
        self._process.reset_peak()

    def report_fault(self, thread: Thread, recording: bytes) -> None:
        """Emit an event for a software fault in a thread."""
        self.emit(
            "SoftwareFault",
            id=thread.id,
            name=_cut(thread.name),
            fault_recording=recording[:_MAX_RECORDING],
        )


def _cut(name: str) -> str:
    return name.encode()[:_MAX_NAME].decode(errors="ignore")
