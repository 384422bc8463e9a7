"""DNS-SD of the node on real interfaces that appear, change and disappear."""

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
Response = dict[str, Any]


class Listener:
    """Listener for all multicast DNS responses on the controller's host."""

    def __init__(self, hosts: TwoHosts, *interfaces: str) -> None:
        self.process = subprocess.Popen(
            hosts.command(
                hosts.controller, sys.executable, "-m", "tests.interop.mdns_listener", *interfaces
            ),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._responses: Queue[Response] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._responses.get(timeout=10)["ready"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._responses.put(json.loads(line))

    def next(self, matches: Callable[[Response], bool], timeout: float = 10) -> Response:
        """Return the next matching response."""
        while True:
            try:
                response = self._responses.get(timeout=timeout)
            except Empty:
                raise AssertionError("no such response") from None
            if matches(response):
                return response

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


def is_announcement(response: Response) -> bool:
    return bool(response["pointers"].get(TYPE))


def announcement_of(address: str) -> Callable[[Response], bool]:
    """Match an announcement with `address`."""
    return lambda response: is_announcement(response) and address in response["addresses"]


def announcement_without(address: str) -> Callable[[Response], bool]:
    """Match an announcement without `address`."""
    return lambda response: is_announcement(response) and address not in response["addresses"]


def announcement_over(*, ipv6: bool) -> Callable[[Response], bool]:
    """Match an announcement sent from an IPv6 (or IPv4) address."""
    return lambda response: is_announcement(response) and (":" in response["from"]) == ipv6


def announcement_on(interface: str) -> Callable[[Response], bool]:
    """Match an announcement received on `interface`."""
    return lambda response: is_announcement(response) and response["on"] == interface


def ip(hosts: TwoHosts, *command: str) -> None:
    subprocess.run(["ip", "-n", hosts.device, *command], check=True)


def test_node_announces_all_subtypes_over_both_families(
    hosts: TwoHosts, listen: Callable[..., Listener], tmp_path: Path
) -> None:
    listener = listen()
    node = NodeProcess(hosts, tmp_path, "--discriminator", "3840")
    node.start()
    for is_from_ipv6 in (False, True):
        response = listener.next(announcement_over(ipv6=is_from_ipv6))
        subtypes = {name.split(".")[0] for name in response["pointers"]}
        assert subtypes == {"_matterc", "_S15", "_L3840", "_CM", "_V65521", "_T1292"}
        assert list(response["services"].values()) == [5540]
        assert {"10.99.0.2", "fd99::2"} < set(response["addresses"])
        assert any(address.startswith("fe80:") for address in response["addresses"])
        (host,) = response["servers"]
        assert len(host) == 12 + len(".local.")
        assert host == host.upper().replace(".LOCAL.", ".local.")
        (text,) = response["texts"]
        assert "VP=65521+32769" in text
    assert response["from"].startswith("fe80:")

    assert node.stop() == 0
    goodbye = listener.next(lambda response: response["pointers"].get(TYPE) == 0)
    assert set(goodbye["pointers"].values()) == {0}
    assert goodbye["addresses"] == []
    assert "Traceback" not in node.log()


def test_changed_addresses_are_announced(
    hosts: TwoHosts, node: NodeProcess, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    ip(hosts, "addr", "add", "fd99::77/64", "dev", "dev0", "nodad")
    listener.next(announcement_of("fd99::77"))
    ip(hosts, "addr", "del", "10.99.0.2/24", "dev", "dev0")
    listener.next(announcement_without("10.99.0.2"))
    ip(hosts, "link", "set", "dev0", "down")
    ip(hosts, "addr", "add", "10.99.0.9/24", "dev", "dev0")
    ip(hosts, "link", "set", "dev0", "up")
    listener.next(announcement_of("10.99.0.9"))


def test_each_interface_announces_its_own_addresses(
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
        response = listener.next(announcement_on(interface))
        assert own in response["addresses"]
        assert other not in response["addresses"]
    node.stop(signal.SIGINT)

    chosen = listen("ctl0", "ctl1")
    node = NodeProcess(hosts, tmp_path, "--interface", "dev1")
    node.start()
    assert chosen.next(is_announcement)["on"] == "ctl1"
    with pytest.raises(AssertionError, match="no such response"):
        chosen.next(lambda response: response["on"] == "ctl0", timeout=1.5)
    node.stop()
