"""Basic Information: vendor, product, versions and label of the node.

Spec: Matter Core 1.3 "Basic Information Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, OptionalAttribute, Value, serves
from evse_node.matter.fabrics.administration import Administration

# DataModelRevision and SpecificationVersion of Matter 1.3.
DATA_MODEL_REVISION = 17
SPECIFICATION_VERSION = 0x01030000


class ProductInformation(Struct, frozen=True, kw_only=True):
    """The manufacturer's data of the product. Attributes of empty texts are omitted."""

    vendor_name: str
    vendor_id: int
    product_name: str
    product_id: int
    hardware_version: int = 0
    hardware_version_string: str = "0"
    software_version: int
    software_version_string: str
    manufacturing_date: str = ""
    part_number: str = ""
    product_url: str = ""
    product_label: str = ""
    serial_number: str = ""
    unique_id: str = ""


# Optional attributes, present unless their field above is empty.
_OPTIONAL_TEXTS = {
    "ManufacturingDate": "manufacturing_date",
    "PartNumber": "part_number",
    "ProductURL": "product_url",
    "ProductLabel": "product_label",
    "SerialNumber": "serial_number",
    "UniqueID": "unique_id",
}
_OPTIONAL = ("LocalConfigDisabled", "Reachable", "ShutDown", "Leave", "ReachableChanged")


@serves("Basic Information")
class BasicInformationServer(ClusterServer):
    """Facts about the node, and events for its start, its stop and its leaving a fabric."""

    data_model_revision: Attribute[int]
    vendor_name: Attribute[str]
    vendor_id: Attribute[int]
    product_name: Attribute[str]
    product_id: Attribute[int]
    node_label: Attribute[str]
    location: Attribute[str]
    hardware_version: Attribute[int]
    hardware_version_string: Attribute[str]
    software_version: Attribute[int]
    software_version_string: Attribute[str]
    manufacturing_date: OptionalAttribute[str]
    part_number: OptionalAttribute[str]
    product_url: OptionalAttribute[str]
    product_label: OptionalAttribute[str]
    serial_number: OptionalAttribute[str]
    reachable: Attribute[bool]
    unique_id: OptionalAttribute[str]
    capability_minima: Attribute[Mapping[str, Value]]
    specification_version: Attribute[int]
    max_paths_per_invoke: Attribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        product: ProductInformation,
        administration: Administration | None = None,
        *,
        specification_version: int = SPECIFICATION_VERSION,
        data_model_revision: int = DATA_MODEL_REVISION,
        case_sessions_per_fabric: int = 3,
        subscriptions_per_fabric: int = 3,
        max_paths_per_invoke: int = 1,
    ) -> None:
        optional = [name for name, field in _OPTIONAL_TEXTS.items() if getattr(product, field)]
        super().__init__(definition, optional=[*_OPTIONAL, *optional])
        for field in product.__struct_fields__:
            setattr(self, field, getattr(product, field))
        self.data_model_revision = data_model_revision
        self.location = "XX"
        self.reachable = True
        self.capability_minima = {
            "case_sessions_per_fabric": case_sessions_per_fabric,
            "subscriptions_per_fabric": subscriptions_per_fabric,
        }
        self.specification_version = specification_version
        self.max_paths_per_invoke = max_paths_per_invoke
        if administration is not None:
            administration.on_fabric_leaving.append(self._on_leaving)

    def attached(self) -> None:
        """Emit the event of the start."""
        self.emit("StartUp", software_version=self.software_version)

    def shut_down(self) -> None:
        """Emit the event of an orderly shutdown."""
        self.emit("ShutDown")

    def set_location(self, country_code: str) -> None:
        """Set the country: two letters, or XX."""
        self.location = country_code

    def _on_leaving(self, fabric_index: int, now: float) -> None:
        self.emit("Leave", fabric_index=fabric_index)
