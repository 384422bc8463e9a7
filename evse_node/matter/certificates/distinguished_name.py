"""Issuer and subject names of operational certificates, in TLV and in X.509.

Spec: Matter Core 1.3 "Matter certificate" (Matter DN encoding)
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter import der, tlv
from evse_node.matter.certificates import x509
from evse_node.matter.tlv import TlvList, TlvValue

MAX_ATTRIBUTES: Final = 5
_PRINTABLE_FLAG = 0x80


class AttributeType(IntEnum):
    """Attributes of a distinguished name, by their TLV tag."""

    COMMON_NAME = 1
    SURNAME = 2
    SERIAL_NUM = 3
    COUNTRY_NAME = 4
    LOCALITY_NAME = 5
    STATE_OR_PROVINCE_NAME = 6
    ORG_NAME = 7
    ORG_UNIT_NAME = 8
    TITLE = 9
    NAME = 10
    GIVEN_NAME = 11
    INITIALS = 12
    GEN_QUALIFIER = 13
    DN_QUALIFIER = 14
    PSEUDONYM = 15
    DOMAIN_COMPONENT = 16
    NODE_ID = 17
    FIRMWARE_SIGNING_ID = 18
    ICAC_ID = 19
    RCAC_ID = 20
    FABRIC_ID = 21
    NOC_CAT = 22


ATTRIBUTE_OIDS: dict[AttributeType, str] = {
    AttributeType.COMMON_NAME: "2.5.4.3",
    AttributeType.SURNAME: "2.5.4.4",
    AttributeType.SERIAL_NUM: "2.5.4.5",
    AttributeType.COUNTRY_NAME: "2.5.4.6",
    AttributeType.LOCALITY_NAME: "2.5.4.7",
    AttributeType.STATE_OR_PROVINCE_NAME: "2.5.4.8",
    AttributeType.ORG_NAME: "2.5.4.10",
    AttributeType.ORG_UNIT_NAME: "2.5.4.11",
    AttributeType.TITLE: "2.5.4.12",
    AttributeType.NAME: "2.5.4.41",
    AttributeType.GIVEN_NAME: "2.5.4.42",
    AttributeType.INITIALS: "2.5.4.43",
    AttributeType.GEN_QUALIFIER: "2.5.4.44",
    AttributeType.DN_QUALIFIER: "2.5.4.46",
    AttributeType.PSEUDONYM: "2.5.4.65",
    AttributeType.DOMAIN_COMPONENT: "0.9.2342.19200300.100.1.25",
    AttributeType.NODE_ID: "1.3.6.1.4.1.37244.1.1",
    AttributeType.FIRMWARE_SIGNING_ID: "1.3.6.1.4.1.37244.1.2",
    AttributeType.ICAC_ID: "1.3.6.1.4.1.37244.1.3",
    AttributeType.RCAC_ID: "1.3.6.1.4.1.37244.1.4",
    AttributeType.FABRIC_ID: "1.3.6.1.4.1.37244.1.5",
    AttributeType.NOC_CAT: "1.3.6.1.4.1.37244.1.6",
}
# Matter's own attributes are numbers; X.509 has them as text of so many hexadecimal digits.
ATTRIBUTE_DIGITS: dict[AttributeType, int] = {
    AttributeType.NODE_ID: 16,
    AttributeType.FIRMWARE_SIGNING_ID: 16,
    AttributeType.ICAC_ID: 16,
    AttributeType.RCAC_ID: 16,
    AttributeType.FABRIC_ID: 16,
    AttributeType.NOC_CAT: 8,
}


class NameAttribute(Struct, frozen=True):
    """One attribute: a number for Matter's own, else text (`printable`: PrintableString)."""

    type: AttributeType
    value: int | str
    printable: bool = False


class DistinguishedName(Struct, frozen=True):
    """An issuer or subject; the order of the attributes is significant."""

    attributes: tuple[NameAttribute, ...]

    def numbers(self, kind: AttributeType) -> tuple[int, ...]:
        """Return the value of every attribute of one of Matter's own types."""
        return tuple(
            attribute.value
            for attribute in self.attributes
            if attribute.type is kind and isinstance(attribute.value, int)
        )

    def _first(self, kind: AttributeType) -> int | None:
        values = self.numbers(kind)
        return values[0] if values else None

    @property
    def node_id(self) -> int | None:
        """The operational node identifier."""
        return self._first(AttributeType.NODE_ID)

    @property
    def fabric_id(self) -> int | None:
        """The fabric identifier."""
        return self._first(AttributeType.FABRIC_ID)

    @property
    def case_authenticated_tags(self) -> tuple[int, ...]:
        """The CASE authenticated tags, 32 bits each: identifier, then version."""
        return self.numbers(AttributeType.NOC_CAT)

    def to_x509(self) -> list[x509.Attribute]:
        """Return the name as X.509 has it, one attribute in each RDN."""
        attributes: list[x509.Attribute] = []
        for item in self.attributes:
            if isinstance(item.value, int):
                text, tag = f"{item.value:0{ATTRIBUTE_DIGITS[item.type]}X}", der.UTF8_STRING
            elif item.type is AttributeType.DOMAIN_COMPONENT:
                text, tag = item.value, der.IA5_STRING
            else:
                text = item.value
                tag = der.PRINTABLE_STRING if item.printable else der.UTF8_STRING
            attributes.append(x509.Attribute(ATTRIBUTE_OIDS[item.type], tag, text.encode()))
        return attributes


def decode_name(value: TlvValue) -> DistinguishedName:
    """Decode a name from its TLV list.

    Raises DecodeError for more than 5 attributes, and for one that is unknown or
    whose value is out of range.
    """
    if not isinstance(value, TlvList):
        raise DecodeError("distinguished name is not a list")
    if len(value) > MAX_ATTRIBUTES:
        raise DecodeError(f"distinguished name of {len(value)} attributes")
    return DistinguishedName(tuple(_decode_attribute(tag, member) for tag, member in value))


def _decode_attribute(tag: tlv.TagKey | None, value: TlvValue) -> NameAttribute:
    if type(tag) is not int:
        raise DecodeError("name attribute has no context tag")
    try:
        kind = AttributeType(tag & ~_PRINTABLE_FLAG)
    except ValueError:
        raise DecodeError(f"name attribute {tag} is not known") from None
    printable = bool(tag & _PRINTABLE_FLAG)
    if kind in ATTRIBUTE_DIGITS:
        # SignedInt and bool are subclasses of int, hence the exact type.
        if printable or type(value) is not int or value >> 4 * ATTRIBUTE_DIGITS[kind]:
            raise DecodeError(f"name attribute {tag} is not valid")
        return NameAttribute(kind, value)
    if not isinstance(value, str):
        raise DecodeError(f"name attribute {tag} is not text")
    return NameAttribute(kind, value, printable)
