"""Real controllers remove the node from its only fabric and commission it again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.conftest import Controller, NodeProcess

SUPPLY_STATE = f"1/{0x0099}/1"
DISABLED, CHARGING_ENABLED = 0, 1


@pytest.mark.parametrize("name", ["chip-core", "matter-server", "matter-js"])
def test_node_is_factory_fresh_after_removal_of_last_fabric(
    node: NodeProcess, controller_of: Callable[[str], Controller], name: str
) -> None:
    controller = controller_of(name)
    code = node.onboarding()["manual_code"]
    controller.call("commission", 240, code=code)
    controller.call("enable_charging", 240, until=None, minimum=6000, maximum=16000)
    assert controller.call("read_all", 240)[SUPPLY_STATE] == CHARGING_ENABLED
    controller.call("remove_fabric", 240, fabric=1)
    deadline = time.monotonic() + 20
    while "the last fabric is removed" not in node.log() and time.monotonic() < deadline:
        time.sleep(0.1)
    # Another owner, with the same code.
    controller.call("commission", 240, code=code, fabric=2)
    assert controller.call("read_all", 240, fabric=2)[SUPPLY_STATE] == DISABLED
    assert node.stop() == 0
    assert "Traceback" not in node.log()
