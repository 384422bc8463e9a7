"""Two test hosts on this machine: network namespaces connected by a veth pair.

`dev` is the node's host, `ctl` the controller's. Processes in them cannot reach
any other network. Needs root, iproute2, and nftables for packet loss.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any


def why_not() -> str | None:
    """Return why test hosts cannot be created here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    probe = f"evseprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not available: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


class TwoHosts:
    """Pair of hosts named after `name`, removed by `close`."""

    DEVICE_INTERFACE = "dev0"

    def __init__(self, name: str) -> None:
        self.device = f"{name}dev"
        self.controller = f"{name}ctl"
        self._remove()
        for host in (self.device, self.controller):
            _run("ip", "netns", "add", host)
        _run(
            *("ip", "link", "add", "dev0", "netns", self.device, "type", "veth"),
            *("peer", "name", "ctl0", "netns", self.controller),
        )
        for host, interface, number in (
            (self.device, "dev0", 2),
            (self.controller, "ctl0", 3),
        ):
            inside = ("ip", "netns", "exec", host)
            for scope in ("all", "default", interface):
                _run(*inside, "sysctl", "-qw", f"net.ipv6.conf.{scope}.accept_dad=0")
            _run("ip", "-n", host, "link", "set", "lo", "up")
            _run("ip", "-n", host, "link", "set", interface, "up")
            _run("ip", "-n", host, "addr", "add", f"10.99.0.{number}/24", "dev", interface)
            _run("ip", "-n", host, "addr", "add", f"fd99::{number}/64", "dev", interface, "nodad")
            _run("ip", "-n", host, "route", "add", "default", "dev", interface)
            _run("ip", "-n", host, "-6", "route", "add", "default", "dev", interface)
        time.sleep(0.3)

    def close(self) -> None:
        """Remove both hosts and terminate their processes."""
        for host in (self.device, self.controller):
            listed = subprocess.run(
                ["ip", "netns", "pids", host], capture_output=True, text=True, check=False
            )
            for pid in listed.stdout.split():
                subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
        self._remove()

    def _remove(self) -> None:
        for host in (self.device, self.controller):
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)

    def command(self, host: str, *command: str) -> list[str]:
        """Return the command line that runs `command` on `host`."""
        return ["ip", "netns", "exec", host, *command]

    def lose(self, percent: int) -> None:
        """Drop this share of the UDP packets that arrive at either host; 0 ends the loss.

        At most three copies of a Matter message are lost: a message is transmitted five times
        at most, so that otherwise one journey in twenty would fail at 20 percent by chance.
        """
        # A copy has the same header: flags, session, counter. DNS headers cannot be compared.
        chance = f"numgen random mod 100 < {percent}"
        up_to_three = "meter lost size 65535 { @th,64,64 limit rate 1/day burst 3 packets }"
        for host, interface in ((self.device, "dev0"), (self.controller, "ctl0")):
            inside = ("ip", "netns", "exec", host, "nft")
            subprocess.run(
                [*inside, "delete", "table", "inet", "loss"], capture_output=True, check=False
            )
            if percent:
                _run(
                    *inside,
                    "add table inet loss; "
                    "add chain inet loss in { type filter hook input priority 0 ; }; "
                    f"add rule inet loss in iifname {interface} udp dport 5353 {chance} drop; "
                    f"add rule inet loss in iifname {interface} udp dport != 5353 "
                    f"{chance} {up_to_three} drop",
                )


def _run(*command: str, **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
