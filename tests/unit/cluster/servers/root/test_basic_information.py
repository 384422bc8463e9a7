import pytest

from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode


@pytest.fixture
def root() -> RootNode:
    return RootNode()


def test_product_attributes(root: RootNode) -> None:
    expected = {
        "data_model_revision": 17,
        "specification_version": 0x01030000,
        "vendor_name": "Maker",
        "vendor_id": 0xFFF1,
        "product_name": "Charger",
        "product_id": 0x8001,
        "software_version": 3,
        "software_version_string": "1.2.3",
        "serial_number": "SN 1",
        "max_paths_per_invoke": 1,
        "reachable": True,
        "capability_minima": {"case_sessions_per_fabric": 3, "subscriptions_per_fabric": 3},
    }
    assert {name: root.read(root.basic, name) for name in expected} == expected


def test_attribute_of_empty_text_is_absent(root: RootNode) -> None:
    for name in ("part_number", "product_url", "unique_id"):
        assert name not in root.basic.attributes_by_key
    assert "serial_number" in root.basic.attributes_by_key


def test_written_attributes_survive_restart(root: RootNode) -> None:
    root.write(root.basic, "node_label", "Garage", root.case())
    root.write(root.basic, "location", "DE", root.case())
    root.write(root.basic, "local_config_disabled", True, root.case())
    root.store.commit()
    again = root.restart()
    assert again.read(again.basic, "node_label") == "Garage"
    assert again.read(again.basic, "location") == "DE"
    assert again.read(again.basic, "local_config_disabled") is True


@pytest.mark.parametrize(("name", "value"), [("node_label", "x" * 33), ("location", "D")])
def test_invalid_write_is_refused(root: RootNode, name: str, value: str) -> None:
    with pytest.raises(StatusError) as error:
        root.write(root.basic, name, value, root.case())
    assert error.value.status == Status.CONSTRAINT_ERROR


def test_start_leave_and_shutdown_emit_events(root: RootNode) -> None:
    assert ("StartUp", {"software_version": 3}, 0) in root.boot_events
    root.add_fabric(1)
    root.administration.remove_fabric(1, root.now)
    assert root.events.take() == [("Leave", {"fabric_index": 1}, 0)]
    root.basic.shut_down()
    assert root.events.take() == [("ShutDown", {}, 0)]
