"""Factory data is created once; values from settings are used but not stored."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evse_node.config.node_config import NodeConfig
from evse_node.errors import ConfigError
from evse_node.matter.certificates.attestation import make_development_attestation
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.node.factory_data import KEPT_BY_FACTORY_RESET, load_factory_data
from evse_node.testing.memory_store import MemoryStore

RANDOM = Random(7).randbytes


def test_factory_data_is_created_once(tmp_path: Path) -> None:
    config = NodeConfig(storage=tmp_path)
    store = MemoryStore()
    first = load_factory_data(config, store, RANDOM)
    again = load_factory_data(config, store, RANDOM)
    assert again.passcode == first.passcode
    assert again.discriminator == first.discriminator
    assert again.serial_number == first.serial_number
    assert again.verifier == first.verifier
    assert again.attestation.to_bytes() == first.attestation.to_bytes()
    other = load_factory_data(config, MemoryStore(), RANDOM)
    assert other.passcode != first.passcode
    assert other.serial_number != first.serial_number
    assert all(key.startswith(KEPT_BY_FACTORY_RESET) for key, _ in store.items(""))


def test_verifier_is_computed_from_the_passcode(tmp_path: Path) -> None:
    data = load_factory_data(NodeConfig(storage=tmp_path, passcode=20202021), MemoryStore(), RANDOM)
    verifier = data.verifier
    expected = compute_verifier(20202021, verifier.salt, verifier.iterations)
    assert (verifier.w0, verifier.L) == expected
    assert 16 <= len(verifier.salt) <= 32
    assert data.onboarding.passcode == 20202021


def test_values_from_settings_are_not_stored(tmp_path: Path) -> None:
    store = MemoryStore()
    own = load_factory_data(NodeConfig(storage=tmp_path), store, RANDOM)
    given = NodeConfig(storage=tmp_path, passcode=20202021, discriminator=3840)
    assert load_factory_data(given, store, RANDOM).discriminator == 3840
    later = load_factory_data(NodeConfig(storage=tmp_path), store, RANDOM)
    assert (later.passcode, later.discriminator) == (own.passcode, own.discriminator)


def test_each_product_id_has_its_own_attestation(tmp_path: Path) -> None:
    store = MemoryStore()
    data = load_factory_data(NodeConfig(storage=tmp_path, product_id=0x8005), store, RANDOM)
    assert (data.attestation.vendor_id, data.attestation.product_id) == (0xFFF1, 0x8005)
    assert (data.onboarding.vendor_id, data.onboarding.product_id) == (0xFFF1, 0x8005)
    data = load_factory_data(NodeConfig(storage=tmp_path), store, RANDOM)
    assert data.attestation.product_id == 0x8001


def test_attestation_from_files_sets_vendor_and_product(tmp_path: Path) -> None:
    made = make_development_attestation(product_id=0x8009)
    files = {
        "dac": made.dac_der,
        "pai": made.pai_der,
        "cd": made.cd_der,
        "dac_key": _private_key_file(made.dac_key.private_bytes),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: tmp_path / name for name in files}
    config = NodeConfig(storage=tmp_path, product_id=0x8009, **paths)  # type: ignore[arg-type]
    data = load_factory_data(config, MemoryStore(), RANDOM)
    assert data.onboarding.product_id == 0x8009
    assert data.attestation.dac_der == made.dac_der


def _private_key_file(private: bytes) -> bytes:
    key = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def test_damaged_factory_data_is_rejected(tmp_path: Path) -> None:
    store = MemoryStore({"factory/passcode": bytes(4)})
    with pytest.raises(ConfigError, match="stored passcode is damaged"):
        load_factory_data(NodeConfig(storage=tmp_path), store, RANDOM)
    store = MemoryStore({"attestation/fff1/8001": b"\x15\x18"})
    with pytest.raises(ConfigError, match="stored attestation is damaged"):
        load_factory_data(NodeConfig(storage=tmp_path), store, RANDOM)
