"""The complete journey of a new owner, with each real controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.conftest import Controller, NodeProcess
from tests.interop.hosts import TwoHosts

EVSE = 0x0099
STATE = f"1/{EVSE}/0"
SUPPLY_STATE = f"1/{EVSE}/1"
MAXIMUM_CHARGE_CURRENT = f"1/{EVSE}/7"
SESSION_ENERGY_CHARGED = f"1/{EVSE}/{0x42}"
COMMISSIONED_FABRICS = f"0/{0x3E}/3"
EV_CONNECTED, EV_NOT_DETECTED, TRANSFER_STARTED, TRANSFER_STOPPED = range(4)
GLOBAL_ATTRIBUTES = (0xFFF8, 0xFFF9, 0xFFFB, 0xFFFC, 0xFFFD)


def check_all_attributes_were_read(attributes: dict[str, object]) -> None:
    """Check that exactly the attributes of each AttributeList were read."""
    clusters = {tuple(path.split("/")[:2]) for path in attributes}
    assert {"0", "1"} <= {endpoint for endpoint, _ in clusters}
    for endpoint, cluster in clusters:
        listed = attributes[f"{endpoint}/{cluster}/{0xFFFB}"]
        assert isinstance(listed, list)
        read = {
            int(path.split("/")[2])
            for path in attributes
            if path.startswith(f"{endpoint}/{cluster}/")
        }
        assert read == set(listed), f"cluster {cluster} on endpoint {endpoint}"
        assert set(GLOBAL_ATTRIBUTES) <= read
    assert attributes[f"1/{EVSE}/{0xFFFD}"] == 2


def journey(node: NodeProcess, controller: Controller, patience: float = 1.0) -> None:
    wait = 20 * patience
    long = 240 * patience

    def wait_attribute(path: str, **wanted: object) -> object:
        return controller.call(
            "wait_attribute", path=path, timeout=wait, reply_within=long, **wanted
        )

    def wait_event(event: int, after: int = -1) -> dict[str, Any]:
        found = controller.call(
            *("wait_event", long), cluster=EVSE, event=event, timeout=wait, after=after
        )
        assert isinstance(found, dict)
        return found

    controller.call("commission", long, code=node.onboarding()["manual_code"])
    check_all_attributes_were_read(controller.call("read_all", long))
    assert controller.call("subscribe", long)["attributes"] > 100

    node.cli("sim", "plug-in")
    connected = wait_event(EV_CONNECTED)
    wait_attribute(STATE, equals=1)
    controller.call("enable_charging", long, until=None, minimum=6000, maximum=16000)
    wait_attribute(SUPPLY_STATE, equals=1)
    wait_attribute(MAXIMUM_CHARGE_CURRENT, equals=16000)
    node.cli("sim", "demand")
    started = wait_event(TRANSFER_STARTED)
    assert started["number"] > connected["number"]
    wait_attribute(STATE, equals=3)
    wait_attribute(SESSION_ENERGY_CHARGED, above=0)
    node.cli("sim", "no-demand")
    stopped = wait_event(TRANSFER_STOPPED)
    wait_attribute(STATE, equals=1)
    node.cli("sim", "unplug")
    gone = wait_event(EV_NOT_DETECTED)
    wait_attribute(STATE, equals=0)
    assert gone["number"] > stopped["number"] > started["number"]

    node.restart()
    node.cli("sim", "plug-in")
    again = wait_event(EV_CONNECTED, after=gone["number"])
    wait_attribute(STATE, equals=1)
    assert again["number"] > gone["number"]

    code = controller.call("open_window", long)
    controller.call("commission", long, code=code, fabric=2)
    wait_attribute(COMMISSIONED_FABRICS, equals=2)
    controller.call("remove_fabric", long, fabric=2)
    wait_attribute(COMMISSIONED_FABRICS, equals=1)
    assert node.stop() == 0
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("name", ["chip-core", "matter-server", "matter-js"])
def test_controller_completes_journey(
    node: NodeProcess, controller_of: Callable[[str], Controller], name: str
) -> None:
    journey(node, controller_of(name))


def test_controller_completes_journey_despite_packet_loss(
    hosts: TwoHosts, node: NodeProcess, controller_of: Callable[[str], Controller]
) -> None:
    controller = controller_of("chip-core")
    hosts.lose(20)
    try:
        journey(node, controller, patience=4)
    finally:
        hosts.lose(0)
