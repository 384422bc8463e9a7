"""Device types: the clusters that an endpoint of each type must and may have.

Spec: Matter Device Library 1.3, and 1.4 for the revisions after it
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from evse_node.errors import ConfigError
from evse_node.matter.data_model import Node

DESCRIPTOR: Final = 0x001D


class MatterVersion(IntEnum):
    """Versions of the specification, by the value of SpecificationVersion."""

    V1_3 = 0x01030000
    V1_4 = 0x01040000
    V1_4_1 = 0x01040100
    V1_4_2 = 0x01040200


class DeviceType(Struct, frozen=True):
    """A device type in one version; clusters are ids of server clusters.

    At least one of `any_of` is required unless it is empty. An endpoint has at most one
    application type; utility types complement it.
    """

    id: int
    name: str
    revision: int
    mandatory: frozenset[int]
    optional: frozenset[int] = frozenset()
    any_of: frozenset[int] = frozenset()
    is_application: bool = False

    @property
    def clusters(self) -> frozenset[int]:
        """All clusters of the device type."""
        return self.mandatory | self.optional | self.any_of | {DESCRIPTOR}


# Allowed with every device type: Descriptor, Binding, Fixed Label, User Label.
_EVERYWHERE: Final = frozenset({DESCRIPTOR, 0x001E, 0x0040, 0x0041})
_ROOT_ONLY: Final = frozenset({0x0016})
# Device types of the root endpoint: Root Node, Power Source, OTA Requestor and Provider.
_ON_ROOT: Final = frozenset({0x0016, 0x0011, 0x0012, 0x0014})

_ROOT_NODE = DeviceType(
    0x0016,
    "Root Node",
    2,
    mandatory=frozenset({0x001F, 0x0028, 0x0030, 0x0033, 0x003C, 0x003E, 0x003F}),
    # Network Commissioning is mandatory only for a node that joins a network by itself.
    optional=frozenset(
        {0x002B, 0x002C, 0x002D, 0x002E, 0x0031, 0x0032, 0x0034, 0x0035, 0x0036, 0x0037, 0x0038}
    ),
)
_POWER_SOURCE = DeviceType(0x0011, "Power Source", 1, mandatory=frozenset({0x002F}))
_ENERGY_EVSE = DeviceType(
    0x050C,
    "Energy EVSE",
    1,
    mandatory=frozenset({0x0099, 0x009D}),
    optional=frozenset({0x0003, 0x0402}),
    is_application=True,
)
_ELECTRICAL_SENSOR = DeviceType(
    0x0510,
    "Electrical Sensor",
    1,
    mandatory=frozenset({0x009C}),
    any_of=frozenset({0x0090, 0x0091}),
)
_DEVICE_ENERGY_MANAGEMENT = DeviceType(
    0x050D, "Device Energy Management", 1, mandatory=frozenset({0x0098, 0x009F})
)

_V1_3: Final = (
    _ROOT_NODE,
    _POWER_SOURCE,
    _ENERGY_EVSE,
    _ELECTRICAL_SENSOR,
    _DEVICE_ENERGY_MANAGEMENT,
)
_V1_4: Final = (
    replace(_ROOT_NODE, revision=3),
    _POWER_SOURCE,
    replace(_ENERGY_EVSE, revision=2),
    _ELECTRICAL_SENSOR,
    # The mode cluster is mandatory only for an appliance that can be controlled.
    replace(
        _DEVICE_ENERGY_MANAGEMENT,
        revision=2,
        mandatory=frozenset({0x0098}),
        optional=frozenset({0x009F}),
    ),
)


def _device_types(version: MatterVersion) -> Sequence[DeviceType]:
    return _V1_3 if version is MatterVersion.V1_3 else _V1_4


def device_type(name: str, version: MatterVersion = MatterVersion.V1_3) -> DeviceType:
    """Return the device type with this name of the specification. Raises KeyError."""
    return {found.name: found for found in _device_types(version)}[name]


def check_node(node: Node, version: MatterVersion = MatterVersion.V1_3) -> None:
    """Raise ConfigError, naming endpoint and cluster, unless endpoints match their device types."""
    known = {found.id: found for found in _device_types(version)}
    for number, endpoint in sorted(node.endpoints.items()):
        where = f"endpoint {number}"
        found: list[DeviceType] = []
        for type_id, revision in endpoint.device_types:
            type_ = known.get(type_id)
            if type_ is None:
                raise ConfigError(f"{where}: unknown device type 0x{type_id:04X}")
            if revision != type_.revision:
                raise ConfigError(
                    f"{where}: {type_.name} has revision {revision}, not {type_.revision}"
                )
            found.append(type_)
        _check_types(where, number, found)
        _check_clusters(where, found, endpoint.clusters.keys())


def _check_types(where: str, number: int, types: Collection[DeviceType]) -> None:
    if not types:
        raise ConfigError(f"{where}: no device type")
    ids = {type_.id for type_ in types}
    if number == 0 and not (ids >= _ROOT_ONLY and ids <= _ON_ROOT):
        raise ConfigError(f"{where}: must be Root Node, with no other type than Power Source")
    if number and ids & _ROOT_ONLY:
        raise ConfigError(f"{where}: only endpoint 0 can be Root Node")
    if sum(type_.is_application for type_ in types) > 1:
        raise ConfigError(f"{where}: more than one application device type")


def _check_clusters(where: str, types: Collection[DeviceType], present: Collection[int]) -> None:
    if DESCRIPTOR not in present:
        raise ConfigError(f"{where}: lacks {_names([DESCRIPTOR])}")
    for type_ in types:
        if missing := type_.mandatory - set(present):
            raise ConfigError(f"{where}: {type_.name} lacks {_names(missing)}")
        if type_.any_of and not type_.any_of & set(present):
            raise ConfigError(f"{where}: {type_.name} needs one of {_names(type_.any_of)}")
    allowed = _EVERYWHERE.union(*(type_.clusters for type_ in types))
    if surplus := {cluster for cluster in present if cluster >> 16 == 0} - allowed:
        raise ConfigError(f"{where}: {_names(surplus)} is not part of its device types")


def _names(clusters: Iterable[int]) -> str:
    return ", ".join(f"cluster 0x{cluster:04X}" for cluster in sorted(clusters))
