from __future__ import annotations

from evse_node.cluster.servers.root.software_diagnostics import (
    Memory,
    SoftwareDiagnosticsServer,
    Thread,
)
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, invoke, shipped


class Process:
    def __init__(self) -> None:
        self.running = [Thread(7, "main"), Thread(9, "zeroconf-listener")]
        self.peak = 900

    def threads(self) -> list[Thread]:
        return self.running

    def memory(self) -> Memory:
        return Memory(5000, 400, self.peak)

    def reset_peak(self) -> None:
        self.peak = 300


def test_attributes_show_threads_and_memory() -> None:
    root = RootNode()
    process = Process()
    server = add(root, SoftwareDiagnosticsServer(shipped("Software Diagnostics"), process))
    assert root.read(server, "thread_metrics") == [
        {"id": 7, "name": "main"},
        {"id": 9, "name": "zeroconf"},
    ]
    assert root.read(server, "current_heap_free") == 5000
    assert root.read(server, "current_heap_used") == 400
    assert root.read(server, "current_heap_high_watermark") == 900
    invoke(root, server, "ResetWatermarks")
    # At least the bytes in use.
    assert root.read(server, "current_heap_high_watermark") == 400
    process.running = [Thread(number, "ä" * 5) for number in range(70)]
    threads = root.read(server, "thread_metrics")
    assert isinstance(threads, list)
    assert len(threads) == 64
    assert threads[0] == {"id": 0, "name": "ä" * 4}


def test_reported_fault_emits_event() -> None:
    root = RootNode()
    server = add(root, SoftwareDiagnosticsServer(shipped("Software Diagnostics"), Process()))
    server.report_fault(Thread(7, "MainThread"), bytes(2000))
    ((name, fields, _),) = root.events.take()
    assert name == "SoftwareFault"
    assert fields == {"id": 7, "name": "MainThre", "fault_recording": bytes(1024)}
