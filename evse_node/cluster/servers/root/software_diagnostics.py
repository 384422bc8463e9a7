"""Software Diagnostics: threads and memory of the node's process.

Spec: Matter Core 1.3 "Software Diagnostics Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.matter.data_model import InteractionContext

_MAX_THREADS: Final = 64
_MAX_NAME: Final = 8
_MAX_RECORDING: Final = 1024


class Thread(NamedTuple):
    """A thread: an id that is its own as long as it runs, and what it is called."""

    id: int
    name: str


class Memory(NamedTuple):
    """Memory in bytes: what can still be had, what is used, and the most that was used."""

    free: int
    used: int
    peak: int


class ProcessFacts(Protocol):
    """Where the cluster looks."""

    def threads(self) -> Sequence[Thread]:
        """Return the threads that run."""

    def memory(self) -> Memory:
        """Return what memory there is."""

    def reset_peak(self) -> None:
        """Let the peak be what is used now."""


@serves("Software Diagnostics")
class SoftwareDiagnosticsServer(ClusterServer):
    """Tells what `process` says."""

    def __init__(self, definition: ClusterDefinition, process: ProcessFacts) -> None:
        super().__init__(
            definition,
            features=["WTRMRK"],
            optional=["ThreadMetrics", "CurrentHeapFree", "CurrentHeapUsed", "SoftwareFault"],
        )
        self._process = process

    @reader
    def thread_metrics(self, context: InteractionContext) -> Value:
        """The threads. What their stacks hold is not known."""
        threads = self._process.threads()[:_MAX_THREADS]
        return [{"id": thread.id, "name": _cut(thread.name)} for thread in threads]

    @reader
    def current_heap_free(self, context: InteractionContext) -> Value:
        """Bytes that can still be had."""
        return self._process.memory().free

    @reader
    def current_heap_used(self, context: InteractionContext) -> Value:
        """Bytes in use."""
        return self._process.memory().used

    @reader
    def current_heap_high_watermark(self, context: InteractionContext) -> Value:
        """The most bytes that were in use."""
        memory = self._process.memory()
        return max(memory.peak, memory.used)

    @command
    def reset_watermarks(self, context: InteractionContext) -> None:
        """Let the high watermark begin anew."""
        self._process.reset_peak()

    def tell_fault(self, thread: Thread, recording: bytes) -> None:
        """Tell of a defect of the software that showed itself in a thread."""
        self.emit(
            "SoftwareFault",
            id=thread.id,
            name=_cut(thread.name),
            fault_recording=recording[:_MAX_RECORDING],
        )


def _cut(name: str) -> str:
    return name.encode()[:_MAX_NAME].decode(errors="ignore")
