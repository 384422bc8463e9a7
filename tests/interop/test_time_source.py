"""A node without a clock synchronises with another node, which it finds by DNS-SD."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.interop.conftest import Controller, NodeProcess
from tests.interop.hosts import TwoHosts

SOURCE, CLIENT = 0x1234, 0x5678
NODE_TIME_CLUSTER = 3
MATTER_EPOCH_S = 946_684_800


def test_restarted_time_source_is_found_by_dns_sd(
    hosts: TwoHosts,
    node: NodeProcess,
    controller_of: Callable[[str], Controller],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    client = NodeProcess(hosts, folder, "--port", "5541", "--clock", "matter")
    client.start()
    try:
        controller = controller_of("chip-core")
        controller.call("commission", code=node.onboarding()["manual_code"], node=SOURCE)
        controller.call("commission", code=client.onboarding()["manual_code"], node=CLIENT)
        controller.call("grant_view", node=SOURCE, reader=CLIENT)
        controller.call("set_time_source", node=CLIENT, source=SOURCE)
        # The stored address of the source becomes invalid.
        node.options = ("--port", "5542")
        node.restart()
        client.restart()
        deadline = time.monotonic() + 60
        reported = controller.call("read_time", node=CLIENT)
        while reported["TimeSource"] != NODE_TIME_CLUSTER and time.monotonic() < deadline:
            time.sleep(1)
            reported = controller.call("read_time", node=CLIENT)
    finally:
        client.stop()
    assert reported["TimeSource"] == NODE_TIME_CLUSTER
    assert abs(reported["UTCTime"] / 1e6 + MATTER_EPOCH_S - time.time()) < 60
    assert "Traceback" not in client.log()
