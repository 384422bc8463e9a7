import pytest

from evse_node.cluster.definitions.device_type import MatterVersion, check_node, device_type
from evse_node.errors import ConfigError
from evse_node.matter.data_model import Cluster, Endpoint, Node

ROOT = (0x1D, 0x1F, 0x28, 0x30, 0x31, 0x33, 0x3C, 0x3E, 0x3F)
EVSE = (0x1D, 0x99, 0x9D, 0x9C, 0x90, 0x91, 0x2F)
EVSE_TYPES = ((0x050C, 1), (0x0510, 1), (0x0011, 1))


def endpoint(number: int, types: tuple[tuple[int, int], ...], *clusters: int) -> Endpoint:
    # Only the cluster ids are used here.
    return Endpoint(number, types, dict.fromkeys(clusters, Cluster.__new__(_NoCluster)))


class _NoCluster(Cluster):
    encode_attribute = encode_list_items = write_attribute = None  # type: ignore[assignment]
    append_list_item = invoke = None  # type: ignore[assignment]


def node(*endpoints: Endpoint) -> Node:
    made = Node()
    made.endpoints = {item.id: item for item in endpoints}
    return made


def test_charger_matches_the_device_types_of_its_version() -> None:
    check_node(node(endpoint(0, ((0x16, 2),), *ROOT), endpoint(1, EVSE_TYPES, *EVSE)))
    types = ((0x050C, 2), (0x0510, 1), (0x0011, 1), (0x050D, 2))
    newer = node(endpoint(0, ((0x16, 3),), *ROOT), endpoint(1, types, *EVSE, 0x98))
    check_node(newer, MatterVersion.V1_4_2)
    with pytest.raises(ConfigError, match="Root Node has revision 3, not 2"):
        check_node(newer)


@pytest.mark.parametrize(
    ("types", "clusters", "reason"),
    [
        ((), EVSE, "no device type"),
        (((0x9999, 1),), EVSE, "unknown device type 0x9999"),
        (((0x050C, 2),), EVSE, "revision 2, not 1"),
        (EVSE_TYPES, EVSE[1:], "lacks cluster 0x001D"),
        (EVSE_TYPES, (0x1D, 0x99, *EVSE[3:]), "Energy EVSE lacks cluster 0x009D"),
        (EVSE_TYPES, (0x1D, 0x99, 0x9D, 0x9C, 0x2F), "needs one of cluster 0x0090, cluster 0x0091"),
        (EVSE_TYPES, (*EVSE, 0x06), "cluster 0x0006 is not part of its device types"),
        (((0x16, 2),), ROOT, "only endpoint 0"),
        (((0x050C, 1), (0x050C, 1)), EVSE, "more than one application"),
    ],
)
def test_device_type_violation_names_endpoint_and_cluster(
    types: tuple[tuple[int, int], ...], clusters: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"endpoint 1: .*{reason}"):
        check_node(node(endpoint(0, ((0x16, 2),), *ROOT), endpoint(1, types, *clusters)))


@pytest.mark.parametrize("types", [EVSE_TYPES, ((0x16, 2), *EVSE_TYPES)])
def test_root_endpoint_rejects_application_device_types(types: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigError, match="endpoint 0: must be Root Node"):
        check_node(node(endpoint(0, types, *ROOT, *EVSE)))


def test_manufacturer_specific_clusters_are_allowed() -> None:
    check_node(node(endpoint(0, ((0x16, 2),), *ROOT, 0xFFF1_FC00)))


def test_device_type_is_found_by_name_and_version() -> None:
    assert device_type("Energy EVSE").id == 0x050C
    assert device_type("Energy EVSE", MatterVersion.V1_4).revision == 2
    with pytest.raises(KeyError):
        device_type("Toaster")
