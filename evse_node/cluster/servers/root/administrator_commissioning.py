"""Administrator Commissioning: commissioning windows for further administrators.

Spec: Matter Core 1.3 "Administrator Commissioning Cluster"
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from itertools import compress
from operator import ne
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.errors import CryptoError, StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.commissioning import (
    MAX_WINDOW_S,
    MIN_WINDOW_S,
    CommissioningWindow,
    FailSafe,
    Opener,
    PasscodeVerifier,
)
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.onboarding import MAX_DISCRIMINATOR
from evse_node.matter.interaction.status import Status
from evse_node.matter.secure_channel.spake2p import (
    MAX_ITERATIONS,
    MAX_SALT_SIZE,
    MIN_ITERATIONS,
    MIN_SALT_SIZE,
    parse_verifier,
)

_ATTRIBUTES: Final = ("window_status", "admin_fabric_index", "admin_vendor_id")


class StatusCode(IntEnum):
    """Spec: Matter Core 1.3 "StatusCodeEnum" of this cluster."""

    BUSY = 2
    PAKE_PARAMETER_ERROR = 3
    WINDOW_NOT_OPEN = 4


@serves("Administrator Commissioning")
class AdministratorCommissioningServer(ClusterServer):
    """Commands on `window`. Feature BC allows windows for the factory passcode."""

    def __init__(
        self,
        definition: ClusterDefinition,
        window: CommissioningWindow,
        fail_safe: FailSafe,
        fabrics: FabricTable,
        *,
        features: Collection[str] = (),
    ) -> None:
        super().__init__(definition, features=features)
        self._window = window
        self._fail_safe = fail_safe
        self._fabrics = fabrics
        self._reported = self._state()
        window.on_changed.append(self._on_window_changed)

    def _state(self) -> tuple[int, int | None, int | None]:
        """Return the values of `_ATTRIBUTES`."""
        window, opener = self._window, self._window.opener
        if opener is None:
            return window.announced_status, None, None
        return window.announced_status, opener.fabric_index, opener.vendor_id

    def _on_window_changed(self, now: float) -> None:
        before, self._reported = self._reported, self._state()
        changed = map(ne, before, self._reported)
        self.report(*compress(_ATTRIBUTES, changed))

    @reader
    def window_status(self, context: InteractionContext) -> int:
        """Return which window an administrator has opened, if any."""
        return self._state()[0]

    @reader
    def admin_fabric_index(self, context: InteractionContext) -> int | None:
        return self._state()[1]

    @reader
    def admin_vendor_id(self, context: InteractionContext) -> int | None:
        return self._state()[2]

    @command
    def open_commissioning_window(
        self,
        context: InteractionContext,
        *,
        commissioning_timeout: int,
        pake_passcode_verifier: bytes,
        discriminator: int,
        iterations: int,
        salt: bytes,
    ) -> None:
        """Open a window for a passcode chosen by the administrator."""
        opener = self._opener(context)
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise _failure(StatusCode.PAKE_PARAMETER_ERROR, "iterations")
        if not MIN_SALT_SIZE <= len(salt) <= MAX_SALT_SIZE:
            raise _failure(StatusCode.PAKE_PARAMETER_ERROR, "salt")
        _check_timeout(commissioning_timeout)
        if discriminator > MAX_DISCRIMINATOR:
            raise StatusError(Status.INVALID_COMMAND, reason="discriminator")
        try:
            w0, point = parse_verifier(pake_passcode_verifier)
        except CryptoError as error:
            raise _failure(StatusCode.PAKE_PARAMETER_ERROR, str(error)) from None
        verifier = PasscodeVerifier(w0, point, salt, iterations)
        self._window.open_enhanced(
            commissioning_timeout, context.now, opener, verifier, discriminator
        )

    @command
    def open_basic_commissioning_window(
        self, context: InteractionContext, *, commissioning_timeout: int
    ) -> None:
        """Open a window for the factory passcode."""
        opener = self._opener(context)
        _check_timeout(commissioning_timeout)
        self._window.open_basic(commissioning_timeout, context.now, opener)

    @command
    def revoke_commissioning(self, context: InteractionContext) -> None:
        """Close the window, and roll back a commissioning that it has admitted."""
        self._fail_safe.expire(context.now)
        if not self._window.is_open:
            raise _failure(StatusCode.WINDOW_NOT_OPEN, "no window is open")
        self._window.close(context.now)

    def _opener(self, context: InteractionContext) -> Opener:
        fabric = self._fabrics.get(context.subject.fabric_index)
        if fabric is None:
            raise _failure(StatusCode.PAKE_PARAMETER_ERROR, "no accessing fabric")
        if self._fail_safe.is_armed or self._window.is_open:
            raise _failure(StatusCode.BUSY, "commissioning is under way")
        return Opener(fabric.index, fabric.vendor_id)


def _failure(code: StatusCode, reason: str) -> StatusError:
    return StatusError(Status.FAILURE, code, reason)


def _check_timeout(timeout_s: int) -> None:
    if not MIN_WINDOW_S <= timeout_s <= MAX_WINDOW_S:
        raise StatusError(Status.INVALID_COMMAND, reason=f"window of {timeout_s} s")
