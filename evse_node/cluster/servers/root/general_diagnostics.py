"""General Diagnostics: restarts, hours, interfaces and faults of the node, and test events.

Spec: Matter Core 1.3 "General Diagnostics Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    Value,
    cached_reader,
    command,
    reader,
    serves,
)
from evse_node.cluster.servers.root.network_interface import Interfaces, NetworkInterface
from evse_node.errors import StatusError
from evse_node.matter.crypto import constant_time_equal
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status
from evse_node.matter.timers import Timers

_HOUR_S: Final = 3600.0
_MAX_REBOOT_COUNT: Final = 0xFFFF
_MAX_HOURS: Final = 0xFFFF_FFFF
_MAX_INTERFACES: Final = 8
_MAX_IPV4: Final = 4
_MAX_IPV6: Final = 8
# Member of BootReasonEnum: the cause of the start is unknown.
_UNSPECIFIED: Final = 0
# A trigger without effect, by which tests check whether triggers are enabled.
NO_OPERATION_TRIGGER: Final = 0xFFFF_FFFF_FFF1_0000
_ENDPOINT_SHIFT: Final = 32
_ENDPOINT_MASK: Final = 0xFFFF << _ENDPOINT_SHIFT
# The payload that fits into one message with the headers of an invoke response.
_MAX_TEST_PAYLOAD: Final = 1024

# Runs a test event; called with `now`.
TriggerAction: TypeAlias = Callable[[float], None]


class HardwareFault(IntEnum):
    """The faults that a charger detects. Spec: Matter Core 1.3 "HardwareFaultEnum"."""

    UNSPECIFIED = 0
    SENSOR = 2
    RESETTABLE_OVER_TEMP = 3
    POWER_SOURCE = 5


class _Trigger(Struct, frozen=True):
    action: TriggerAction
    endpoint: int


@serves("General Diagnostics")
class GeneralDiagnosticsServer(ClusterServer):
    """Counters of starts and hours, and the test events.

    `enable_key` (16 bytes, not all zero) enables test events; None disables them.
    `posix_ms` returns the synchronized time since 1970 in milliseconds, or None, as it
    must on a node without a Time Synchronization cluster.
    """

    reboot_count: Attribute[int]
    total_operational_hours: Attribute[int]
    boot_reason: Attribute[int]
    active_hardware_faults: Attribute[Sequence[HardwareFault]]
    test_event_triggers_enabled: Attribute[bool]

    def __init__(
        self,
        definition: ClusterDefinition,
        interfaces: Interfaces,
        timers: Timers,
        *,
        enable_key: bytes | None = None,
        posix_ms: Callable[[], int | None] = lambda: None,
        has_payload_test: bool = False,
    ) -> None:
        is_enabled = enable_key is not None and any(enable_key)
        super().__init__(
            definition,
            features=["DMTEST"] if has_payload_test else [],
            optional=[
                "TotalOperationalHours",
                "BootReason",
                "ActiveHardwareFaults",
                "HardwareFaultChange",
            ],
        )
        self.boot_reason = _UNSPECIFIED
        self.test_event_triggers_enabled = is_enabled
        self._interfaces = interfaces
        self._timers = timers
        self._enable_key = enable_key if is_enabled else None
        self._posix_ms = posix_ms
        self._start = 0.0
        self._triggers: dict[int, _Trigger] = {}

    def attached(self) -> None:
        """Count the start, and start counting hours."""
        self._start = self.environment.now()
        self.reboot_count = min(self.reboot_count + 1, _MAX_REBOOT_COUNT)
        self._timers.call_at(self._start + _HOUR_S, self._on_hour)
        self.emit("BootReason", boot_reason=self.boot_reason)

    def _on_hour(self, now: float) -> None:
        self.total_operational_hours = min(self.total_operational_hours + 1, _MAX_HOURS)
        self._timers.call_at(now + _HOUR_S, self._on_hour)

    def add_trigger(self, code: int, action: TriggerAction, endpoint: int = 0) -> None:
        """Run `action` on the test event `code` (endpoint bits zero).

        A client may set bits 32 to 47 of the code to `endpoint` or 0.
        """
        self._triggers[code & ~_ENDPOINT_MASK] = _Trigger(action, endpoint)

    def interfaces_changed(self) -> None:
        """Report the changed interfaces."""
        self.report("network_interfaces")

    def set_hardware_faults(self, faults: Sequence[HardwareFault]) -> None:
        """Set the active faults of the hardware."""
        current, previous = sorted(set(faults)), self.active_hardware_faults
        if current == previous:
            return
        self.active_hardware_faults = current
        self.emit("HardwareFaultChange", current=current, previous=previous)

    @cached_reader
    def network_interfaces(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        return [_encode_interface(item) for item in self._interfaces()[:_MAX_INTERFACES]]

    @reader
    def up_time(self, context: InteractionContext) -> int:
        return int(context.now - self._start)

    @command
    def test_event_trigger(
        self, context: InteractionContext, *, enable_key: bytes, event_trigger: int
    ) -> None:
        self._check_key(enable_key)
        if event_trigger == NO_OPERATION_TRIGGER:
            return
        trigger = self._triggers.get(event_trigger & ~_ENDPOINT_MASK)
        endpoint = (event_trigger & _ENDPOINT_MASK) >> _ENDPOINT_SHIFT
        if trigger is None or endpoint not in (0, trigger.endpoint):
            raise StatusError(Status.INVALID_COMMAND, reason=f"no trigger 0x{event_trigger:016X}")
        trigger.action(context.now)

    @command
    def time_snapshot(self, context: InteractionContext) -> Mapping[str, Value]:
        """Return the time since the start, and the synchronized time if known."""
        return {
            "system_time_ms": int((context.now - self._start) * 1000),
            "posix_time_ms": self._posix_ms(),
        }

    @command
    def payload_test_request(
        self, context: InteractionContext, *, enable_key: bytes, value: int, count: int
    ) -> Mapping[str, Value]:
        """Answer with `count` bytes of `value`."""
        self._check_key(enable_key)
        if count > _MAX_TEST_PAYLOAD:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="does not fit into a message")
        return {"payload": bytes((value,)) * count}

    def _check_key(self, enable_key: bytes) -> None:
        key = self._enable_key
        if key is None or not constant_time_equal(key, enable_key):
            raise StatusError(Status.CONSTRAINT_ERROR, reason="wrong enable key")


def _encode_interface(interface: NetworkInterface) -> dict[str, Value]:
    return {
        "name": interface.name[:32],
        "is_operational": interface.is_operational,
        # Reachability of services outside the premises is not probed.
        "off_premise_services_reachable_ipv4": None,
        "off_premise_services_reachable_ipv6": None,
        "hardware_address": interface.hardware_address,
        "ipv4_addresses": list(interface.ipv4_addresses[:_MAX_IPV4]),
        "ipv6_addresses": list(interface.ipv6_addresses[:_MAX_IPV6]),
        "type": interface.type,
    }
