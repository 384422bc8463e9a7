"""Keys, passcodes and verifiers do not show when a record is printed or logged.

All records of the package are searched for fields that may hold a secret. A new one fails
until it is listed here: in `SAMPLES` when it holds a secret, in `HARMLESS` otherwise.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from msgspec import Struct

import evse_node
from evse_node.config import NodeConfig
from evse_node.matter.certificates.attestation import Attestation
from evse_node.matter.crypto import KeyPair
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.fabrics.group import _FabricGroups
from evse_node.matter.fabrics.group_key import EpochKey, GroupKeySet
from evse_node.matter.fabrics.onboarding import OnboardingPayload
from evse_node.matter.messaging.session_keys import SessionKeys
from evse_node.matter.secure_channel.session_resumption import ResumptionRecord
from evse_node.matter.stack import StackSettings
from evse_node.node.control.messages import Onboarding
from evse_node.node.endpoints import NodeParts
from evse_node.node.factory_data import FactoryData

PASSCODE = 34970112
SECRET_16, SECRET_32, SECRET_65 = (bytes(range(0xA0, 0xA0 + size)) for size in (16, 32, 65))
KEY_PAIR = KeyPair.from_private(SECRET_32)
VERIFIER = PasscodeVerifier(SECRET_32, SECRET_65, b"public salt 0016", 1000)
EPOCH_KEY = EpochKey(SECRET_16, 1)
KEY_SET = GroupKeySet(0, 0, (EPOCH_KEY,))
ATTESTATION = Attestation(b"dac", b"pai", b"cd", KEY_PAIR)


def sample(record: type[Struct], **secrets: object) -> Struct:
    """Return a record with these secrets, and None in each other field without a default."""
    required = record.__struct_fields__
    if record.__struct_defaults__:
        required = required[: -len(record.__struct_defaults__)]
    return record(**{**dict.fromkeys(required), **secrets})


SAMPLES: tuple[Struct, ...] = (
    ATTESTATION,
    EPOCH_KEY,
    KEY_SET,
    VERIFIER,
    Fabric(1, b"root", b"noc", None, KEY_PAIR, 2, 3, KEY_PAIR.public_key, 4, KEY_SET),
    NodeConfig(passcode=PASSCODE, enable_key=SECRET_16),
    OnboardingPayload(0xFFF1, 0x8000, 1, PASSCODE),
    ResumptionRecord(b"resumption id 16", SECRET_32, 1, 2),
    SessionKeys(SECRET_16, SECRET_16, SECRET_16),
    _FabricGroups(key_sets={0: KEY_SET}),
    sample(FactoryData, passcode=PASSCODE, verifier=VERIFIER, attestation=ATTESTATION),
    sample(NodeParts, enable_key=SECRET_16),
    sample(Onboarding, passcode=PASSCODE),
    sample(StackSettings, verifier=VERIFIER),
)
RECORDS_WITH_SECRETS = {type(each).__name__ for each in SAMPLES}

SUSPICIOUS_NAME = re.compile(
    "key|secret|passcode|password|verifier|token|credential|private|ipk|challenge|pin$"
    "|^(w0|w1|L|i2r|r2i)$",
    re.IGNORECASE,
)
SUSPICIOUS_TYPE = re.compile(rf"\b(KeyPair|AeadKey|{'|'.join(RECORDS_WITH_SECRETS)})\b")

HARMLESS = {
    # Names of definitions and settings.
    "AttributeDefinition.key",
    "CommandDefinition.key",
    "EventDefinition.key",
    "FieldDefinition.key",
    "Option.is_secret",
    "Option.key",
    "Setting.is_secret",
    "Setting.key",
    # Public keys, identifiers of keys, and what a key may be used for.
    "Certificate.public_key",
    "Extensions.authority_key_id",
    "Extensions.extended_key_usage",
    "Extensions.key_usage",
    "Extensions.subject_key_id",
    "PBKDFParamRequest.passcode_id",
    "Sigma1.initiator_public_key",
    "Sigma2.responder_public_key",
    "SignedDeclaration.signer_key_id",
    "X509Certificate.public_key",
}


# Importing them warns that their content has moved.
FORMER_MODULES = ("hal.contract", "charger.watch", "hal.electric_car", "gpio.board_file")


def all_records() -> set[type[Struct]]:
    for module in pkgutil.walk_packages(evse_node.__path__, "evse_node."):
        if not module.name.endswith(("__main__", *FORMER_MODULES)):
            importlib.import_module(module.name)

    def subclasses(record: type[Struct]) -> Iterator[type[Struct]]:
        for each in record.__subclasses__():
            yield each
            yield from subclasses(each)

    return {each for each in subclasses(Struct) if each.__module__.startswith("evse_node.")}


def test_records_with_suspicious_fields_are_listed() -> None:
    suspicious = {
        f"{record.__name__}.{field}"
        for record in all_records()
        for field in record.__struct_fields__
        if record.__name__ not in RECORDS_WITH_SECRETS
        and (
            SUSPICIOUS_NAME.search(field)
            or SUSPICIOUS_TYPE.search(str(record.__annotations__.get(field, "")))
        )
    }
    assert suspicious == HARMLESS


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_record_does_not_show_its_secrets(record: Struct) -> None:
    for shown in (repr(record), str(record), f"{record}", f"{[record]}"):
        assert type(record).__name__ in shown
        assert str(PASSCODE) not in shown
        for secret in (SECRET_16, SECRET_32, SECRET_65):
            assert secret.hex() not in shown.lower()
            assert repr(secret[:16])[2:-1] not in shown
