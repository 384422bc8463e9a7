"""Data about the machine, from folders that resemble the kernel's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from evse_node.cluster.servers.root.ethernet_network_diagnostics import (
    EthernetCounters,
    EthernetStatus,
)
from evse_node.cluster.servers.root.software_diagnostics import Memory, Thread
from evse_node.platform.process_info import Process, read_ethernet


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


TABLE = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
  eth0: 1000 10 0 0 5 0 0 0 2000 20 3 0 0 4 0 0
eth0.7: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
"""


def test_connected_interface_has_rate_duplex_and_counters(tmp_path: Path) -> None:
    write(tmp_path / "links" / "eth0", speed="1000", duplex="full", carrier="1")
    write(tmp_path / "self" / "net", dev=TABLE)
    assert read_ethernet("eth0", tmp_path / "links", tmp_path / "self") == EthernetStatus(
        1000, True, True, EthernetCounters(10, 20, 3, 4, 5)
    )
    assert read_ethernet("eth1", tmp_path / "links", tmp_path / "self") == EthernetStatus()


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"speed": "-1", "duplex": "unknown", "carrier": "0"}, EthernetStatus(None, None, False)),
        ({"speed": "100", "duplex": "half"}, EthernetStatus(100, False, None)),
        ({}, EthernetStatus()),
    ],
)
def test_missing_kernel_data_is_none(
    tmp_path: Path, files: dict[str, str], status: EthernetStatus
) -> None:
    write(tmp_path / "eth0", **files)
    assert read_ethernet("eth0", tmp_path, tmp_path / "self") == status
    assert read_ethernet("nowhere0", tmp_path, tmp_path / "self") == EthernetStatus()


def test_loopback_counters_count_datagrams() -> None:
    before = read_ethernet("lo").counters
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"something", ("127.0.0.1", 9))
    after = read_ethernet("lo").counters
    assert after.sent > before.sent
    assert after.received > before.received


def test_threads_and_memory_are_read_from_proc(tmp_path: Path) -> None:
    write(tmp_path / "self", status="Name:\tevse-node\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB")
    write(tmp_path / "self" / "task" / "12", comm="evse-node")
    write(tmp_path / "self" / "task" / "7", comm="meter")
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable: 1000 kB\n")
    (tmp_path / "self" / "clear_refs").touch()
    process = Process(tmp_path / "self", tmp_path / "meminfo")
    assert process.threads() == [Thread(7, "meter"), Thread(12, "evse-node")]
    assert process.memory() == Memory(1000 * 1024, 200 * 1024, 300 * 1024)
    process.reset_peak()
    assert (tmp_path / "self" / "clear_refs").read_bytes() == b"5"


def test_own_process_has_memory_and_threads() -> None:
    process = Process()
    assert 0 < process.memory().used <= process.memory().peak
    assert process.threads()
    process.reset_peak()


def test_process_without_proc_has_no_data(tmp_path: Path) -> None:
    process = Process(tmp_path / "self", tmp_path / "meminfo")
    assert process.threads() == []
    assert process.memory() == Memory(0, 0, 0)
    process.reset_peak()
