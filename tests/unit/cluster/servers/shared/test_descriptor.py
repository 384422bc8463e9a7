from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.shared.descriptor import DescriptorServer
from evse_node.matter.data_model import AuthMode, Endpoint, InteractionContext, Subject
from tests.support.matter.root_node import RootNode


def test_root_endpoint_lists_device_types_clusters_and_parts() -> None:
    root = RootNode()
    assert root.read(root.descriptor, "device_type_list") == [{"device_type": 0x16, "revision": 2}]
    assert root.read(root.descriptor, "server_list") == [
        0x1D, 0x1F, 0x28, 0x30, 0x31, 0x33, 0x3C, 0x3E, 0x3F
    ]  # fmt: skip
    assert root.read(root.descriptor, "client_list") == []
    assert root.read(root.descriptor, "parts_list") == []
    assert root.read(root.descriptor, "feature_map") == 0


def test_other_endpoint_has_no_parts() -> None:
    root = RootNode()
    part = DescriptorServer(load_definitions()["Descriptor"])
    root.node.endpoints[2] = Endpoint(2, ((0x050C, 1), (0x0011, 1)), {part.id: part})
    part.attach(2, root.environment)
    assert root.read(root.descriptor, "parts_list") == [2]
    assert root.read(part, "parts_list") == []
    assert root.read(part, "server_list") == [0x1D]
    assert root.read(part, "device_type_list") == [
        {"device_type": 0x050C, "revision": 1},
        {"device_type": 0x0011, "revision": 1},
    ]


def test_tag_list_comes_with_feature() -> None:
    tag = {"mfg_code": None, "namespace_id": 7, "tag": 1}
    part = DescriptorServer(load_definitions()["Descriptor"], features=["TAGLIST"])
    part.tag_list = [tag]
    root = RootNode()
    part.attach(2, root.environment)
    context = InteractionContext(Subject(AuthMode.CASE, 1), 0.0)
    assert root.read(part, "tag_list", context) == [tag]
