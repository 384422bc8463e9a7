"""What a factory would give each device: made at the first start, kept over factory resets.

And what else is kept when everything else in the store is forgotten.

Passcode, discriminator and serial number are drawn at random, attestation credentials are
made under the development authority, unless the settings say otherwise. What settings
give is used but not kept.
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
    # A fault that is there is none of the settings, and nothing is switched on over it.
    "evse/faults",
)
"""Prefixes of the keys that a factory reset leaves in the store."""

KEPT_WITHOUT_FABRICS: Final = (
    *KEPT_BY_FACTORY_RESET,
    "counter/event",
    # Starts and hours of operation. Spec: Matter Core 1.3 "General Diagnostics Cluster"
    *("attr/0/0033/0001", "attr/0/0033/0003"),
    "energy/",
    # No two sessions have the same number, and the present one belongs to the car.
    "evse/session",
)
"""Prefixes of the keys that the removal of the last fabric leaves in the store.

That is what counts on, whoever owns the node. All else was made for those who are gone.
Spec: Matter Core 1.3 "RemoveFabric Command"
"""

# Within what commissioners accept (1000 to 100000); more would only slow down them.
_ITERATIONS: Final = 1000
_SALT_SIZE: Final = 32
_SERIAL_SIZE: Final = 8


class FactoryData(Struct, frozen=True):
    """The device's own data. `serial_number` is text, `verifier` belongs to the passcode."""

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
    """Return what the store and the settings have; draw and keep what is missing.

    Raises ConfigError for attestation files that do not fit, or a store that is damaged.
    """
    passcode = config.passcode
    if passcode is None:
        passcode = _number(store, "factory/passcode", 4, lambda: generate_passcode(random_bytes))
        if not is_valid_passcode(passcode):
            raise ConfigError("storage: the kept passcode is damaged: give --passcode")
    discriminator = config.discriminator
    if discriminator is None:
        discriminator = _number(
            store, "factory/discriminator", 2, lambda: generate_discriminator(random_bytes)
        )
    salt = _kept(store, "factory/salt", lambda: random_bytes(_SALT_SIZE))
    w0, point = compute_verifier(passcode, salt, _ITERATIONS)
    serial = _kept(store, "factory/serial_number", lambda: random_bytes(_SERIAL_SIZE))
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
    kept = _kept(
        store,
        key,
        lambda: make_development_attestation(
            config.vendor_id, config.product_id, random_bytes=random_bytes
        ).to_bytes(),
    )
    try:
        return Attestation.from_bytes(kept)
    except (DecodeError, CryptoError) as error:
        raise ConfigError(f"storage: the kept attestation is damaged: {error}") from None


def _kept(store: Store, key: str, make: Callable[[], bytes]) -> bytes:
    value = store.get(key)
    if value is None:
        value = make()
        store.set(key, value)
    return value


def _number(store: Store, key: str, size: int, make: Callable[[], int]) -> int:
    return int.from_bytes(_kept(store, key, lambda: make().to_bytes(size, "big")), "big")
