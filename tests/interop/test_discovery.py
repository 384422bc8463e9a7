"""DNS-SD of the node on real interfaces, as these appear, change and disappear."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from tests.interop.conftest import NodeProcess
from tests.interop.hosts import TwoHosts

TYPE = "_matterc._udp.local."
Heard = dict[str, Any]


class Listener:
    """Hears all multicast DNS responses on the controller's host."""

    def __init__(self, hosts: TwoHosts, *interfaces: str) -> None:
        self.process = subprocess.Popen(
            hosts.command(
                hosts.controller, sys.executable, "-m", "tests.interop.mdns_listener", *interfaces
            ),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard: Queue[Heard] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._heard.get(timeout=10)["ready"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.put(json.loads(line))

    def hear(self, wanted: Callable[[Heard], bool], timeout: float = 10) -> Heard:
        """Return the next response that is wanted."""
        while True:
            try:
                heard = self._heard.get(timeout=timeout)
            except Empty:
                raise AssertionError("nothing of the kind was heard") from None
            if wanted(heard):
                return heard

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def listen(hosts: TwoHosts) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*interfaces: str) -> Listener:
        listeners.append(Listener(hosts, *(interfaces or ("ctl0",))))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


def is_announcement(heard: Heard) -> bool:
    return bool(heard["pointers"].get(TYPE))


def announcement_over(*, ipv6: bool) -> Callable[[Heard], bool]:
    """Match an announcement sent from an IPv6 (or IPv4) address."""
    return lambda heard: is_announcement(heard) and (":" in heard["from"]) == ipv6


def announcement_on(interface: str) -> Callable[[Heard], bool]:
    """Match an announcement received on `interface`."""
    return lambda heard: is_announcement(heard) and heard["on"] == interface


def ip(hosts: TwoHosts, *command: str) -> None:
    subprocess.run(["ip", "-n", hosts.device, *command], check=True)


def test_both_families_and_all_subtypes(
    hosts: TwoHosts, listen: Callable[..., Listener], tmp_path: Path
) -> None:
    listener = listen()
    node = NodeProcess(hosts, tmp_path, "--discriminator", "3840")
    node.start()
    for is_from_ipv6 in (False, True):
        heard = listener.hear(announcement_over(ipv6=is_from_ipv6))
        subtypes = {name.split(".")[0] for name in heard["pointers"]}
        assert subtypes == {"_matterc", "_S15", "_L3840", "_CM", "_V65521", "_T1292"}
        assert list(heard["services"].values()) == [5540]
        assert {"10.99.0.2", "fd99::2"} < set(heard["addresses"])
        assert any(address.startswith("fe80:") for address in heard["addresses"])
        (host,) = heard["servers"]
        assert len(host) == 12 + len(".local.")
        assert host == host.upper().replace(".LOCAL.", ".local.")
        (text,) = heard["texts"]
        assert "VP=65521+32769" in text
    assert heard["from"].startswith("fe80:")

    assert node.stop() == 0
    goodbye = listener.hear(lambda heard: heard["pointers"].get(TYPE) == 0)
    assert set(goodbye["pointers"].values()) == {0}
    assert goodbye["addresses"] == []
    assert "Traceback" not in node.log()


def test_addresses_that_come_and_go_are_told(
    hosts: TwoHosts, node: NodeProcess, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    ip(hosts, "addr", "add", "fd99::77/64", "dev", "dev0", "nodad")
    listener.hear(lambda heard: is_announcement(heard) and "fd99::77" in heard["addresses"])
    ip(hosts, "addr", "del", "10.99.0.2/24", "dev", "dev0")
    listener.hear(lambda heard: is_announcement(heard) and "10.99.0.2" not in heard["addresses"])
    ip(hosts, "link", "set", "dev0", "down")
    ip(hosts, "addr", "add", "10.99.0.9/24", "dev", "dev0")
    ip(hosts, "link", "set", "dev0", "up")
    listener.hear(lambda heard: is_announcement(heard) and "10.99.0.9" in heard["addresses"])


def test_each_interface_tells_its_own_addresses(
    hosts: TwoHosts, listen: Callable[..., Listener], tmp_path: Path
) -> None:
    subprocess.run(
        [
            *("ip", "link", "add", "dev1", "netns", hosts.device, "type", "veth"),
            *("peer", "name", "ctl1", "netns", hosts.controller),
        ],
        check=True,
    )
    ip(hosts, "addr", "add", "10.98.0.2/24", "dev", "dev1")
    ip(hosts, "link", "set", "dev1", "up")
    subprocess.run(["ip", "-n", hosts.controller, "link", "set", "ctl1", "up"], check=True)
    listener = listen("ctl0", "ctl1")
    node = NodeProcess(hosts, tmp_path)
    node.start()
    for interface, own, other in (
        ("ctl0", "10.99.0.2", "10.98.0.2"),
        ("ctl1", "10.98.0.2", "10.99.0.2"),
    ):
        heard = listener.hear(announcement_on(interface))
        assert own in heard["addresses"]
        assert other not in heard["addresses"]
    node.stop(signal.SIGINT)

    chosen = listen("ctl0", "ctl1")
    node = NodeProcess(hosts, tmp_path, "--interface", "dev1")
    node.start()
    assert chosen.hear(is_announcement)["on"] == "ctl1"
    with pytest.raises(AssertionError, match="nothing of the kind"):
        chosen.hear(lambda heard: heard["on"] == "ctl0", timeout=1.5)
    node.stop()
