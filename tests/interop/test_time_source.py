"""A node without a clock takes the time from another one, which it finds by DNS-SD."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.interop.conftest import Controller, NodeProcess
from tests.interop.hosts import TwoHosts

SOURCE, ASKING = 0x1234, 0x5678
NODE_TIME_CLUSTER = 3
MATTER_EPOCH_S = 946_684_800


def test_the_trusted_time_source_is_found(
    hosts: TwoHosts,
    node: NodeProcess,
    controller_of: Callable[[str], Controller],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "asking"
    folder.mkdir()
    asking = NodeProcess(hosts, folder, "--port", "5541", "--clock", "matter")
    asking.start()
    try:
        controller = controller_of("chip-core")
        controller.call("commission", code=node.onboarding()["manual_code"], node=SOURCE)
        controller.call("commission", code=asking.onboarding()["manual_code"], node=ASKING)
        controller.call("let_read", node=SOURCE, reader=ASKING)
        controller.call("take_time_from", node=ASKING, source=SOURCE)
        # What it remembers of the source's address is of no use any more.
        node.options = ("--port", "5542")
        node.restart()
        asking.restart()
        deadline = time.monotonic() + 60
        reported = controller.call("read_time", node=ASKING)
        while reported["TimeSource"] != NODE_TIME_CLUSTER and time.monotonic() < deadline:
            time.sleep(1)
            reported = controller.call("read_time", node=ASKING)
    finally:
        asking.stop()
    assert reported["TimeSource"] == NODE_TIME_CLUSTER
    assert abs(reported["UTCTime"] / 1e6 + MATTER_EPOCH_S - time.time()) < 60
    assert "Traceback" not in asking.log()
