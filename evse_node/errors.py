"""The exception tree.

EvseNodeError
├── DecodeError     bytes that do not follow their format (the peer's fault)
├── CryptoError     a key, signature, certificate or tag that does not verify
├── StatusError     an interaction-model status to be sent to the peer
├── SessionError    a session or exchange that cannot go on
├── HalError        hardware that does not do what it was told
├── StorageError    the disk cannot keep what it was given
└── ConfigError     a setting that cannot be used (file, key, value)
"""


class EvseNodeError(Exception):
    """Base of every error that this package raises on purpose."""


class DecodeError(EvseNodeError):
    """Bytes do not follow the format that they claim to have."""


class CryptoError(EvseNodeError):
    """A key, signature, certificate chain or authentication tag is not valid."""


class StatusError(EvseNodeError):
    """A request is answered with an interaction-model status other than success.

    `status` is a code of `evse_node.matter.interaction.status.Status`, and
    `cluster_status`, if any, the code that the cluster defines beside it.
    Spec: Matter Core 1.3 "Status Code Table"
    """

    def __init__(self, status: int, cluster_status: int | None = None, reason: str = "") -> None:
        self.status = status
        self.cluster_status = cluster_status
        self.reason = reason
        super().__init__(f"status 0x{status:02X}{': ' + reason if reason else ''}")


class SessionError(EvseNodeError):
    """A session or exchange is gone, full, or not in a state to do this."""


class HalError(EvseNodeError):
    """Hardware failed, is missing, or contradicts what it was told."""


class StorageError(EvseNodeError):
    """What was set cannot be made durable: disk full, read-only or broken."""


class ConfigError(EvseNodeError):
    """A setting cannot be used. The message names file, key, value and what would be right."""
