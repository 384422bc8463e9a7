"""The exception tree.

EvseNodeError
├── DecodeError     malformed bytes from a peer
├── CryptoError     an invalid key, signature, certificate or tag
├── StatusError     an Interaction Model status to send to the peer
├── SessionError    a session or exchange that cannot continue
├── HalError        a hardware failure
├── StorageError    a failure of the disk
└── ConfigError     an invalid setting
"""


class EvseNodeError(Exception):
    """Base class of the exceptions that this package raises."""


class DecodeError(EvseNodeError):
    """Bytes do not follow their format."""


class CryptoError(EvseNodeError):
    """A key, signature, certificate chain or authentication tag is invalid."""


class StatusError(EvseNodeError):
    """A request ends with an Interaction Model status other than success.

    `status` is a code of `evse_node.matter.interaction.status.Status`, and `cluster_status`,
    if any, a cluster-specific code.
    Spec: Matter Core 1.3 "Status Code Table"
    """

    def __init__(self, status: int, cluster_status: int | None = None, reason: str = "") -> None:
        self.status = status
        self.cluster_status = cluster_status
        self.reason = reason
        super().__init__(f"status 0x{status:02X}{': ' + reason if reason else ''}")


class SessionError(EvseNodeError):
    """A session or exchange is gone, full, or in the wrong state."""


class HalError(EvseNodeError):
    """Hardware failed, is missing, or does not follow a command."""


class StorageError(EvseNodeError):
    """Data cannot be stored: the disk is full, read-only or broken."""


class ConfigError(EvseNodeError):
    """A setting is invalid. The message names file, key, value and what would be right."""
