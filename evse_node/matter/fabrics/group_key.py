"""Group key sets, and the keys derived from their epoch keys for one fabric.

Spec: Matter Core 1.3 "Group Key Management", "Operational Group Key Derivation"
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from evse_node.errors import DecodeError, StatusError
from evse_node.matter.crypto import SYMMETRIC_KEY_SIZE, hkdf_sha256, repr_without
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue
from evse_node.matter.tlv_fields import (
    expect_array,
    expect_integer,
    expect_octets,
    expect_structure,
)

# The key set that authenticates CASE destination ids; every fabric has it.
IPK_KEY_SET_ID: Final = 0
TRUST_FIRST: Final = 0
CACHE_AND_SYNC: Final = 1


class EpochKey(Struct, frozen=True):
    """A key of 16 bytes, valid from `start_time` on (microseconds since 2000, UTC)."""

    key: bytes
    start_time: int

    def __repr__(self) -> str:
        return repr_without(self, "key")


class GroupKeySet(Struct, frozen=True):
    """A set of one to three epoch keys, the earliest first.

    Spec: Matter Core 1.3 "GroupKeySetStruct"
    """

    id: int
    policy: int
    epoch_keys: tuple[EpochKey, ...]

    def to_tlv(self) -> TlvValue:
        """Return the key set, including its keys, for the store."""
        return {
            0: self.id,
            1: self.policy,
            2: [{0: k.start_time, 1: k.key} for k in self.epoch_keys],
        }

    @classmethod
    def from_tlv(cls, value: TlvValue) -> GroupKeySet:
        """Decode a stored key set. Raises DecodeError."""
        members = expect_structure(value)
        epoch_keys = tuple(_decode_epoch_key(item) for item in expect_array(members.get(2)))
        if not epoch_keys:
            raise DecodeError("group key set without a key")
        return cls(expect_integer(members.get(0)), expect_integer(members.get(1)), epoch_keys)


def _decode_epoch_key(value: TlvValue) -> EpochKey:
    members = expect_structure(value)
    key = expect_octets(members.get(1), SYMMETRIC_KEY_SIZE)
    return EpochKey(key, expect_integer(members.get(0)))


def make_key_set(
    key_set_id: int,
    policy: int,
    epoch_keys: tuple[bytes | None, bytes | None, bytes | None],
    start_times: tuple[int | None, int | None, int | None],
) -> GroupKeySet:
    """Validate the fields of a KeySetWrite command, and return the key set.

    Raises StatusError: INVALID_COMMAND for keys or times that are null or out of order,
    CONSTRAINT_ERROR for a key that is not 16 bytes.
    Spec: Matter Core 1.3 "KeySetWrite Command"
    """
    if policy == CACHE_AND_SYNC:
        raise StatusError(Status.INVALID_COMMAND, reason="policy CacheAndSync is not supported")
    if policy != TRUST_FIRST:
        raise StatusError(Status.CONSTRAINT_ERROR, reason=f"unknown policy {policy}")
    checked: list[EpochKey] = []
    for number, (key, start_time) in enumerate(zip(epoch_keys, start_times, strict=True)):
        if key is None and start_time is None and number:
            continue
        if key is None or start_time is None:
            raise StatusError(
                Status.INVALID_COMMAND, reason=f"EpochKey{number} or its start time is null"
            )
        if len(key) != SYMMETRIC_KEY_SIZE:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"EpochKey{number} has {len(key)} bytes"
            )
        if len(checked) != number:
            raise StatusError(
                Status.INVALID_COMMAND, reason=f"EpochKey{number} without EpochKey{number - 1}"
            )
        # 0 is reserved for the key of AddNOC, which has no start time.
        if start_time <= (checked[-1].start_time if checked else 0):
            raise StatusError(Status.INVALID_COMMAND, reason=f"EpochStartTime{number} is not later")
        checked.append(EpochKey(key, start_time))
    return GroupKeySet(key_set_id, policy, tuple(checked))


def derive_operational_key(epoch_key: bytes, compressed_fabric_id: bytes) -> bytes:
    """Return a fabric's operational key (16 bytes) for an epoch key.

    Spec: Matter Core 1.3 "Operational Group Key Derivation"
    """
    return hkdf_sha256(epoch_key, compressed_fabric_id, b"GroupKey v1.0", SYMMETRIC_KEY_SIZE)
