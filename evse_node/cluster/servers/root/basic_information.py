"""Basic Information: who made the node, what it is, what its user calls it.

Spec: Matter Core 1.3 "Basic Information Cluster"
"""

from __future__ import annotations

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves
from evse_node.matter.fabrics.administration import Administration

# What a node of Matter 1.3 reports in DataModelRevision and SpecificationVersion.
DATA_MODEL_REVISION = 17
SPECIFICATION_VERSION = 0x01030000


class ProductInformation(Struct, frozen=True, kw_only=True):
    """What the maker says of the product. Texts that are empty are left out."""

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


# Attributes that are there only with something to say, and their fields above.
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
    """Says who the node is, and tells of its coming and going by events."""

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
        texts: dict[str, Value] = {
            field: getattr(product, field)
            for field in _OPTIONAL_TEXTS.values()
            if getattr(product, field)
        }
        super().__init__(
            definition,
            optional=[
                *_OPTIONAL,
                *(name for name, field in _OPTIONAL_TEXTS.items() if field in texts),
            ],
            values={
                **texts,
                "data_model_revision": data_model_revision,
                "vendor_name": product.vendor_name,
                "vendor_id": product.vendor_id,
                "product_name": product.product_name,
                "product_id": product.product_id,
                "node_label": "",
                "location": "XX",
                "hardware_version": product.hardware_version,
                "hardware_version_string": product.hardware_version_string,
                "software_version": product.software_version,
                "software_version_string": product.software_version_string,
                "reachable": True,
                "capability_minima": {
                    "case_sessions_per_fabric": case_sessions_per_fabric,
                    "subscriptions_per_fabric": subscriptions_per_fabric,
                },
                "specification_version": specification_version,
                "max_paths_per_invoke": max_paths_per_invoke,
            },
        )
        self._software_version = product.software_version
        if administration is not None:
            administration.on_fabric_leaving.append(self._on_leaving)

    def attached(self) -> None:
        """Tell that the node has started."""
        self.emit("StartUp", software_version=self._software_version)

    def shut_down(self) -> None:
        """Tell that the node is about to stop in an orderly way."""
        self.emit("ShutDown")

    def set_location(self, country_code: str) -> None:
        """Set the country, two letters, or XX."""
        self.set(location=country_code)

    def _on_leaving(self, fabric_index: int, now: float) -> None:
        self.emit("Leave", fabric_index=fabric_index)
