"""Data that a factory would give each device: created at the first start, kept by resets.

Passcode, discriminator and serial number are random, and attestation credentials are issued
by the development authority, unless the settings give others. Values from settings are used
but not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.config.node_config import NodeConfig
from evse_node.errors import ConfigError, CryptoError, DecodeError
from evse_node.matter.certificates.attestation import (
    Attestation,
    load_attestation,
    make_development_attestation,
)
from evse_node.matter.crypto import repr_without
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.fabrics.onboarding import (
    OnboardingPayload,
    generate_discriminator,
    generate_passcode,
    is_valid_passcode,
)
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.matter.store import Store

KEPT_BY_FACTORY_RESET: Final = (
    *("factory/", "attestation/"),
    # A present fault is not a setting, and must keep the contactor open.
    "evse/faults",
)
"""Prefixes of the keys that a factory reset keeps."""

KEPT_WITHOUT_FABRICS: Final = (
    *KEPT_BY_FACTORY_RESET,
    "counter/event",
    # Starts and hours of operation. Spec: Matter Core 1.3 "General Diagnostics Cluster"
    *("attr/0/0033/0001", "attr/0/0033/0003"),
    "energy/",
    # Session numbers are unique, and the running session belongs to the car.
    "evse/session",
)
"""Prefixes of the keys that the removal of the last fabric keeps: counters of the device.

All other data belongs to the former fabrics.
Spec: Matter Core 1.3 "RemoveFabric Command"
"""

# Commissioners accept 1000 to 100000; more would only slow them down.
_ITERATIONS: Final = 1000
_SALT_SIZE: Final = 32
_SERIAL_SIZE: Final = 8


class FactoryData(Struct, frozen=True):
    """Data of one device. `verifier` belongs to the passcode."""

    passcode: int
    discriminator: int
    serial_number: str
    verifier: PasscodeVerifier
    attestation: Attestation
    onboarding: OnboardingPayload

    def __repr__(self) -> str:
        return repr_without(self, "passcode", "attestation")


def load_factory_data(
    config: NodeConfig, store: Store, random_bytes: Callable[[int], bytes]
) -> FactoryData:
    """Return the data of settings and store; generate and store missing values.

    Raises ConfigError for attestation files that do not match, or damaged data.
    """
    passcode = config.passcode
    if passcode is None:
        passcode = _number(store, "factory/passcode", 4, lambda: generate_passcode(random_bytes))
        if not is_valid_passcode(passcode):
            raise ConfigError("storage: the stored passcode is damaged: give --passcode")
    discriminator = config.discriminator
    if discriminator is None:
        discriminator = _number(
            store, "factory/discriminator", 2, lambda: generate_discriminator(random_bytes)
        )
    salt = _stored(store, "factory/salt", lambda: random_bytes(_SALT_SIZE))
    w0, point = compute_verifier(passcode, salt, _ITERATIONS)
    serial = _stored(store, "factory/serial_number", lambda: random_bytes(_SERIAL_SIZE))
    attestation = _attestation(config, store, random_bytes)
    return FactoryData(
        passcode=passcode,
        discriminator=discriminator,
        serial_number=serial.hex().upper(),
        verifier=PasscodeVerifier(w0, point, salt, _ITERATIONS),
        attestation=attestation,
        onboarding=OnboardingPayload(
            vendor_id=attestation.vendor_id,
            product_id=attestation.product_id,
            discriminator=discriminator,
            passcode=passcode,
        ),
    )


def _attestation(
    config: NodeConfig, store: Store, random_bytes: Callable[[int], bytes]
) -> Attestation:
    if config.dac and config.pai and config.cd and config.dac_key:
        return load_attestation(config.dac, config.pai, config.cd, config.dac_key)
    key = f"attestation/{config.vendor_id:04x}/{config.product_id:04x}"
    stored = _stored(
        store,
        key,
        lambda: make_development_attestation(
            config.vendor_id, config.product_id, random_bytes=random_bytes
        ).to_bytes(),
    )
    try:
        return Attestation.from_bytes(stored)
    except (DecodeError, CryptoError) as error:
        raise ConfigError(f"storage: the stored attestation is damaged: {error}") from None


def _stored(store: Store, key: str, make: Callable[[], bytes]) -> bytes:
    value = store.get(key)
    if value is None:
        value = make()
        store.set(key, value)
    return value


def _number(store: Store, key: str, size: int, make: Callable[[], int]) -> int:
    return int.from_bytes(_stored(store, key, lambda: make().to_bytes(size, "big")), "big")
