"""General Commissioning: the fail-safe, and the end of commissioning.

Spec: Matter Core 1.3 "General Commissioning Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import Attribute, ClusterServer, command, serves
from evse_node.matter.data_model import AuthMode, InteractionContext
from evse_node.matter.fabrics.commissioning import FAIL_SAFE_LENGTH_S, CommissioningWindow, FailSafe


class CommissioningError(IntEnum):
    """Spec: Matter Core 1.3 "CommissioningErrorEnum"."""

    OK = 0
    VALUE_OUTSIDE_RANGE = 1
    INVALID_AUTHENTICATION = 2
    NO_FAIL_SAFE = 3
    BUSY_WITH_OTHER_ADMIN = 4


class RegulatoryLocation(IntEnum):
    """Spec: Matter Core 1.3 "RegulatoryLocationTypeEnum"."""

    INDOOR = 0
    OUTDOOR = 1
    INDOOR_OUTDOOR = 2


@serves("General Commissioning")
class GeneralCommissioningServer(ClusterServer):
    """Commands on `fail_safe`. `set_location` receives the country code of the location."""

    breadcrumb: Attribute[int]
    basic_commissioning_info: Attribute[Mapping[str, Value]]
    regulatory_config: Attribute[int]
    location_capability: Attribute[RegulatoryLocation]
    supports_concurrent_connection: Attribute[bool]

    def __init__(
        self,
        definition: ClusterDefinition,
        fail_safe: FailSafe,
        window: CommissioningWindow,
        set_location: Callable[[str], None],
        *,
        location_capability: RegulatoryLocation = RegulatoryLocation.INDOOR_OUTDOOR,
    ) -> None:
        super().__init__(definition)
        self.basic_commissioning_info = {
            "fail_safe_expiry_length_seconds": FAIL_SAFE_LENGTH_S,
            "max_cumulative_failsafe_seconds": fail_safe.max_cumulative_s,
        }
        self.regulatory_config = self.location_capability = location_capability
        self.supports_concurrent_connection = True
        self._fail_safe = fail_safe
        self._window = window
        self._set_location = set_location
        fail_safe.on_ended.append(self._on_fail_safe_ended)

    def _on_fail_safe_ended(self, now: float) -> None:
        self.breadcrumb = 0

    @command
    def arm_fail_safe(
        self, context: InteractionContext, *, expiry_length_seconds: int, breadcrumb: int
    ) -> Mapping[str, Value]:
        """Arm the fail-safe, extend it, or expire it at once (0 seconds)."""
        fail_safe = self._fail_safe
        subject = context.subject
        if fail_safe.is_armed:
            is_busy = not fail_safe.is_armed_by(subject.fabric_index)
        else:
            # An open window reserves the fail-safe for its first PASE session.
            is_busy = self._window.is_open and subject.auth_mode is AuthMode.CASE
        if is_busy:
            return _response(CommissioningError.BUSY_WITH_OTHER_ADMIN)
        if expiry_length_seconds:
            fail_safe.arm(subject.fabric_index, expiry_length_seconds, context.now)
            self.breadcrumb = breadcrumb
        else:
            fail_safe.expire(context.now)
        return _response(CommissioningError.OK)

    @command
    def set_regulatory_config(
        self,
        context: InteractionContext,
        *,
        new_regulatory_config: int,
        country_code: str,
        breadcrumb: int,
    ) -> Mapping[str, Value]:
        """Set the location of the node: indoors or outdoors, and the country."""
        capability = self.location_capability
        is_known = new_regulatory_config in tuple(RegulatoryLocation)
        if not is_known or capability not in (
            RegulatoryLocation.INDOOR_OUTDOOR,
            new_regulatory_config,
        ):
            return _response(CommissioningError.VALUE_OUTSIDE_RANGE)
        self._set_location(country_code)
        with self.changes():
            self.regulatory_config = new_regulatory_config
            self.breadcrumb = breadcrumb
        return _response(CommissioningError.OK)

    @command
    def commissioning_complete(self, context: InteractionContext) -> Mapping[str, Value]:
        """Disarm the fail-safe and commit the changes made under it."""
        fail_safe = self._fail_safe
        subject = context.subject
        if not fail_safe.is_armed:
            return _response(CommissioningError.NO_FAIL_SAFE)
        if subject.auth_mode is not AuthMode.CASE or not fail_safe.is_armed_by(
            subject.fabric_index
        ):
            return _response(CommissioningError.INVALID_AUTHENTICATION)
        fail_safe.complete(context.now)
        return _response(CommissioningError.OK)


def _response(error: CommissioningError) -> dict[str, Value]:
    return {"error_code": error, "debug_text": ""}
