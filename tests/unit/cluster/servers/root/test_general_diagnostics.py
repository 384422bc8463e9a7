import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.general_diagnostics import HardwareFault
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import ENABLE_KEY, ETHERNET, RootNode


@pytest.fixture
def root() -> RootNode:
    return RootNode()


def test_reboot_count_increases_with_each_start(root: RootNode) -> None:
    assert root.read(root.diagnostics, "reboot_count") == 1
    root.store.commit()
    again = root.restart()
    assert again.read(again.diagnostics, "reboot_count") == 2


def test_start_emits_boot_reason(root: RootNode) -> None:
    assert ("BootReason", {"boot_reason": 0}, 0) in root.boot_events
    assert root.read(root.diagnostics, "boot_reason") == 0


def test_time_snapshot_returns_both_clocks(root: RootNode) -> None:
    root.now += 5.25
    assert root.read(root.diagnostics, "up_time") == 5
    reply = root.invoke(root.diagnostics, "time_snapshot", root.case())
    assert reply == {"system_time_ms": 5250, "posix_time_ms": None}


def test_hours_are_counted_over_restarts(root: RootNode) -> None:
    assert root.read(root.diagnostics, "total_operational_hours") == 0
    for _ in range(3):
        root.now += 3600.0
        root.timers.run(root.now)
    assert root.read(root.diagnostics, "total_operational_hours") == 3
    root.store.commit()
    again = root.restart()
    assert again.read(again.diagnostics, "total_operational_hours") == 3
    # Hours are not reported.
    assert root.reported() == set()


def test_interfaces_are_listed_up_to_maximum(root: RootNode) -> None:
    assert root.read(root.diagnostics, "network_interfaces") == [
        {
            "name": "eth0",
            "is_operational": True,
            "off_premise_services_reachable_ipv4": None,
            "off_premise_services_reachable_ipv6": None,
            "hardware_address": ETHERNET.hardware_address,
            "ipv4_addresses": [bytes((10, 0, 0, 1))],
            "ipv6_addresses": [bytes(16)],
            "type": 2,
        }
    ]
    root.interfaces *= 9
    root.diagnostics.interfaces_changed()
    interfaces = root.read(root.diagnostics, "network_interfaces")
    assert isinstance(interfaces, list)
    assert len(interfaces) == 8
    assert root.reported() == {"network_interfaces"}


def trigger(root: RootNode, code: int, key: bytes = ENABLE_KEY) -> None:
    root.invoke(
        root.diagnostics, "test_event_trigger", root.case(), enable_key=key, event_trigger=code
    )


def test_trigger_runs_action_of_its_endpoint(root: RootNode) -> None:
    seen: list[tuple[str, float]] = []
    root.diagnostics.add_trigger(
        0x0099_0000_0000_0002, lambda now: seen.append(("plugged in", now)), endpoint=1
    )
    trigger(root, 0x0099_0001_0000_0002)
    trigger(root, 0x0099_0000_0000_0002)
    assert seen == [("plugged in", root.now)] * 2
    trigger(root, 0xFFFF_FFFF_FFF1_0000)
    for code in (0, 0x0099_0002_0000_0002, 0x0099_0001_0000_0003, 0xFFFF_0000_FFF1_0000):
        with pytest.raises(StatusError) as error:
            trigger(root, code)
        assert error.value.status == Status.INVALID_COMMAND
    assert len(seen) == 2


@pytest.mark.parametrize("key", [bytes(16), bytes(range(1, 17)), b"", ENABLE_KEY[:8]])
def test_trigger_with_wrong_key_is_refused(root: RootNode, key: bytes) -> None:
    for code in (0xFFFF_FFFF_FFF1_0000, 0):
        with pytest.raises(StatusError) as error:
            trigger(root, code, key)
        assert error.value.status == Status.CONSTRAINT_ERROR


@pytest.mark.parametrize("key", [None, bytes(16)])
def test_triggers_are_disabled_without_key(root: RootNode, key: bytes | None) -> None:
    assert root.read(root.diagnostics, "test_event_triggers_enabled") is True
    root.diagnostics = type(root.diagnostics)(
        load_definitions()["General Diagnostics"], list, root.timers, enable_key=key
    )
    root.diagnostics.attach(0, root.environment)
    assert root.read(root.diagnostics, "test_event_triggers_enabled") is False
    with pytest.raises(StatusError) as error:
        trigger(root, 0xFFFF_FFFF_FFF1_0000, bytes(16))
    assert error.value.status == Status.CONSTRAINT_ERROR


def payload(root: RootNode, count: int, key: bytes = ENABLE_KEY) -> object:
    return root.invoke(
        root.diagnostics,
        "payload_test_request",
        root.case(),
        enable_key=key,
        value=0x55,
        count=count,
    )["payload"]


def test_payload_test_returns_requested_bytes(root: RootNode) -> None:
    assert payload(root, 0) == b""
    assert payload(root, 3) == b"UUU"
    for count, key, status in (
        (2049, ENABLE_KEY, Status.CONSTRAINT_ERROR),
        (1281, ENABLE_KEY, Status.RESOURCE_EXHAUSTED),
        (3, bytes(16), Status.CONSTRAINT_ERROR),
    ):
        with pytest.raises(StatusError) as error:
            payload(root, count, key)
        assert error.value.status == status


def test_changed_hardware_faults_emit_event(root: RootNode) -> None:
    root.diagnostics.set_hardware_faults([HardwareFault.SENSOR, HardwareFault.POWER_SOURCE])
    root.diagnostics.set_hardware_faults([HardwareFault.POWER_SOURCE, HardwareFault.SENSOR])
    assert root.read(root.diagnostics, "active_hardware_faults") == [2, 5]
    assert root.events.take() == [("HardwareFaultChange", {"current": [2, 5], "previous": []}, 0)]
    root.diagnostics.set_hardware_faults([])
    assert root.events.take() == [("HardwareFaultChange", {"current": [], "previous": [2, 5]}, 0)]
