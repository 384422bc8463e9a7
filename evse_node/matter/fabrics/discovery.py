"""DNS-SD service records of a node, as plain data; `platform.dns_sd` announces them.

Not implemented: Extended Discovery (a node outside of commissioning mode announces only
its operational services); Rotating Device Identifier; Commissioner Discovery.

Spec: Matter Core 1.3 "Discovery"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from evse_node.matter.messaging.session import SessionParameters

COMMISSIONABLE_TYPE: Final = "_matterc._udp"
OPERATIONAL_TYPE: Final = "_matter._tcp"

_MAX_DEVICE_NAME = 32
_MAX_PAIRING_INSTRUCTION = 128


class Service(Struct, frozen=True):
    """A service to advertise.

    `type` and `subtypes` are without domain and `_sub`, `instance` is one label, `txt` has
    the order of the TXT record.
    """

    type: str
    instance: str
    port: int
    subtypes: tuple[str, ...]
    txt: Mapping[str, str]


class CommissionableIdentity(Struct, frozen=True):
    """Data of a node that is announced during commissioning.

    `device_name` (up to 32 bytes in UTF-8) and `device_type` are optional. `pairing_hint`
    is a bitmap of the ways to enter commissioning mode, 0 for none; some of its bits need a
    `pairing_instruction` (up to 128 bytes).
    Spec: Matter Core 1.3 "Commissionable Node Discovery"
    """

    vendor_id: int
    product_id: int
    device_type: int | None = None
    device_name: str | None = None
    pairing_hint: int = 0
    pairing_instruction: str = ""


def commissionable_service(
    identity: CommissionableIdentity,
    parameters: SessionParameters,
    *,
    instance: bytes,
    discriminator: int,
    commissioning_mode: int,
    port: int,
) -> Service:
    """Return the service of a node in commissioning mode.

    `instance` are 8 random bytes, new for each commissioning window;
    `commissioning_mode` is 1 for the factory passcode and 2 for an enhanced window.
    Spec: Matter Core 1.3 "Commissionable Node Discovery"
    """
    subtypes = [
        f"_S{discriminator >> 8}",
        f"_L{discriminator}",
        "_CM",
        f"_V{identity.vendor_id}",
    ]
    txt = {
        "D": str(discriminator),
        "VP": f"{identity.vendor_id}+{identity.product_id}",
        "CM": str(commissioning_mode),
    }
    if identity.device_type is not None:
        subtypes.append(f"_T{identity.device_type}")
        txt["DT"] = str(identity.device_type)
    if identity.device_name:
        txt["DN"] = _truncate(identity.device_name, _MAX_DEVICE_NAME)
    if identity.pairing_hint:
        txt["PH"] = str(identity.pairing_hint)
    if identity.pairing_instruction:
        txt["PI"] = _truncate(identity.pairing_instruction, _MAX_PAIRING_INSTRUCTION)
    txt |= _session_keys(parameters)
    return Service(COMMISSIONABLE_TYPE, instance.hex().upper(), port, tuple(subtypes), txt)


def operational_service(
    compressed_fabric_id: bytes, node_id: int, parameters: SessionParameters, port: int
) -> Service:
    """Return the service of a node on one of its fabrics; the compressed fabric id has 8 bytes.

    Spec: Matter Core 1.3 "Operational Discovery"
    """
    return Service(
        OPERATIONAL_TYPE,
        operational_instance(compressed_fabric_id, node_id),
        port,
        (f"_I{compressed_fabric_id.hex().upper()}",),
        _session_keys(parameters),
    )


def operational_instance(compressed_fabric_id: bytes, node_id: int) -> str:
    """Return the instance name of a node on a fabric.

    Spec: Matter Core 1.3 "Operational Instance Name"
    """
    return f"{compressed_fabric_id.hex().upper()}-{node_id:016X}"


def _session_keys(parameters: SessionParameters) -> dict[str, str]:
    # Key T is omitted: by default a node does not support TCP.
    return {
        "SII": str(parameters.idle_interval_ms),
        "SAI": str(parameters.active_interval_ms),
        "SAT": str(parameters.active_threshold_ms),
    }


def _truncate(text: str, size: int) -> str:
    """Return as many whole characters as fit into `size` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")
