"""The fail-safe timer and the commissioning window.

Spec: Matter Core 1.3 "Commissioning", "Fail Safe Context", "Administrator Commissioning Cluster"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from msgspec import Struct

from evse_node.errors import SessionError
from evse_node.matter.crypto import KeyPair, repr_without
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.timers import Timer, Timers

_LOGGER: Final = logging.getLogger(__name__)

FAIL_SAFE_LENGTH_S: Final = 60
MAX_CUMULATIVE_FAIL_SAFE_S: Final = 900
MIN_WINDOW_S: Final = 180
MAX_WINDOW_S: Final = 900
MAX_PASE_FAILURES: Final = 20

Observer = Callable[[float], None]


class PasscodeVerifier(Struct, frozen=True):
    """The verifier of a passcode: `w0` and `L` (32 and 65 bytes), and the PBKDF parameters.

    Spec: Matter Core 1.3 "PAKE Passcode Verifier"
    """

    w0: bytes
    L: bytes
    salt: bytes
    iterations: int

    def __repr__(self) -> str:
        return repr_without(self, "w0", "L")


class FailSafe:
    """The fail-safe timer and context: reverts changes unless CommissioningComplete arrives.

    `fabric_index` is the fabric that armed it, 0 for PASE before AddNOC, and the new fabric
    after AddNOC. The context holds the key of the last CSR, the root certificate for a new
    fabric, and whether AddNOC or UpdateNOC has been executed.

    `on_rollback` observers revert their changes, in order, with the context still in place;
    `on_completed` observers commit theirs. `on_ended` observers are called after either,
    with the context cleared.
    Spec: Matter Core 1.3 "Fail Safe Context"
    """

    def __init__(
        self, timers: Timers, *, max_cumulative_s: int = MAX_CUMULATIVE_FAIL_SAFE_S
    ) -> None:
        self._timers = timers
        self.max_cumulative_s = max_cumulative_s
        self.on_rollback: list[Observer] = []
        self.on_completed: list[Observer] = []
        self.on_ended: list[Observer] = []
        self._timer: Timer | None = None
        self._cumulative_deadline = 0.0
        self._clear()

    def _clear(self) -> None:
        self.is_armed = False
        self.fabric_index = 0
        self.csr_key: KeyPair | None = None
        self.is_csr_for_update = False
        self.root_certificate: bytes | None = None
        self.is_noc_added = False
        self.is_noc_updated = False

    @property
    def has_noc_command(self) -> bool:
        """Whether AddNOC or UpdateNOC has been executed in this context."""
        return self.is_noc_added or self.is_noc_updated

    def is_armed_by(self, fabric_index: int) -> bool:
        """Return whether this fabric has armed the fail-safe; 0 stands for PASE."""
        return self.is_armed and self.fabric_index == fabric_index

    def arm(self, fabric_index: int, expiry_s: int, now: float) -> None:
        """Arm the fail-safe or change its expiry, within the cumulative limit since arming.

        The caller checks that no other fabric has armed it.
        """
        if not self.is_armed:
            self._clear()
            self.is_armed = True
            self._cumulative_deadline = now + self.max_cumulative_s
        self.fabric_index = fabric_index
        if self._timer is not None:
            self._timer.cancel()
        deadline = min(now + expiry_s, self._cumulative_deadline)
        self._timer = self._timers.call_at(deadline, self._on_timer)

    def set_noc_added(self, fabric_index: int) -> None:
        """Assign the context to the fabric that AddNOC has added."""
        self.is_noc_added = True
        self.fabric_index = fabric_index

    def complete(self, now: float) -> None:
        """Commit all changes of this context, if armed."""
        if not self.is_armed:
            return
        self._stop()
        for observer in list(self.on_completed):
            observer(now)
        self._end(now)

    def expire(self, now: float) -> None:
        """Revert all changes of this context at once, if armed."""
        if not self.is_armed:
            return
        self._stop()
        _LOGGER.info("fail-safe expired: reverting changes since it was armed")
        for observer in list(self.on_rollback):
            observer(now)
        self._end(now)

    def _on_timer(self, now: float) -> None:
        self._timer = None
        self.expire(now)

    def _stop(self) -> None:
        # Disarmed before observers run, so that none of them can end it again.
        self.is_armed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, now: float) -> None:
        self._clear()
        for observer in list(self.on_ended):
            observer(now)


class WindowStatus(IntEnum):
    """Spec: Matter Core 1.3 "CommissioningWindowStatusEnum"."""

    NOT_OPEN = 0
    ENHANCED_OPEN = 1
    BASIC_OPEN = 2

    @property
    def label(self) -> str:
        """Return "closed", "basic" or "enhanced"."""
        return "closed" if self is self.NOT_OPEN else self.name.removesuffix("_OPEN").lower()


class Opener(Struct, frozen=True):
    """The administrator that opened a window; `fabric_index` is None after its removal."""

    fabric_index: int | None
    vendor_id: int


class CommissioningWindow:
    """The commissioning window: accepts PASE with the factory passcode or a given verifier.

    While a PASE session exists, the window stays open but accepts no other commissioner
    (`is_listening` is false) until the fail-safe of that session expires. It closes after
    20 failures. `on_changed` observers are called with `now` after any change of status,
    opener, discriminator or `is_listening`; `on_closed` observers when it closes, before
    `on_changed`.
    Spec: Matter Core 1.3 "Commissioning Mode", "Administrator Commissioning Cluster"
    """

    def __init__(
        self,
        timers: Timers,
        fail_safe: FailSafe,
        *,
        factory_verifier: PasscodeVerifier,
        factory_discriminator: int,
    ) -> None:
        self._timers = timers
        self._fail_safe = fail_safe
        self._factory_verifier = factory_verifier
        self._factory_discriminator = factory_discriminator
        self.on_changed: list[Observer] = []
        self.on_closed: list[Observer] = []
        self._verifier: PasscodeVerifier | None = None
        self._timer: Timer | None = None
        self._failures = 0
        self.status = WindowStatus.NOT_OPEN
        self.opener: Opener | None = None
        self.discriminator = factory_discriminator
        self.is_listening = False
        fail_safe.on_completed.append(self.close)
        fail_safe.on_ended.append(self._on_fail_safe_ended)

    @property
    def is_open(self) -> bool:
        """Whether a window is open, listening or not."""
        return self.status is not WindowStatus.NOT_OPEN

    @property
    def is_exhausted(self) -> bool:
        """Whether the last window closed after too many failed attempts."""
        return self._failures >= MAX_PASE_FAILURES

    @property
    def commissioning_mode(self) -> int:
        """Value of DNS-SD key CM: 0 closed, 1 basic, 2 enhanced."""
        if not self.is_listening:
            return 0
        return 1 if self.status is WindowStatus.BASIC_OPEN else 2

    @property
    def announced_status(self) -> WindowStatus:
        """Value of attribute WindowStatus: only windows opened by an administrator count."""
        return WindowStatus.NOT_OPEN if self.opener is None else self.status

    def open_basic(self, timeout_s: float, now: float, opener: Opener | None = None) -> None:
        """Open a window for the factory passcode; without `opener` on the node's own behalf.

        Raises SessionError when a window is open or the fail-safe is armed.
        """
        self._open(
            WindowStatus.BASIC_OPEN,
            self._factory_verifier,
            self._factory_discriminator,
            timeout_s,
            now,
            opener,
        )

    def open_enhanced(
        self,
        timeout_s: float,
        now: float,
        opener: Opener,
        verifier: PasscodeVerifier,
        discriminator: int,
    ) -> None:
        """Open a window for a passcode chosen by the administrator.

        Raises SessionError when a window is open or the fail-safe is armed.
        """
        self._open(WindowStatus.ENHANCED_OPEN, verifier, discriminator, timeout_s, now, opener)

    def _open(
        self,
        status: WindowStatus,
        verifier: PasscodeVerifier,
        discriminator: int,
        timeout_s: float,
        now: float,
        opener: Opener | None,
    ) -> None:
        if self.is_open or self._fail_safe.is_armed:
            raise SessionError("a commissioning window is open or the fail-safe is armed")
        self.status = status
        self.opener = opener
        self._verifier = verifier
        self.discriminator = discriminator
        self._failures = 0
        self.is_listening = True
        self._timer = self._timers.call_at(now + timeout_s, self._on_timeout)
        _LOGGER.info("commissioning window open for %d s", timeout_s)
        self._notify(now)

    def close(self, now: float) -> None:
        """Close the window, if open.

        An established PASE session remains, subject to its fail-safe.
        """
        if not self.is_open:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.status = WindowStatus.NOT_OPEN
        self.opener = None
        self._verifier = None
        self.discriminator = self._factory_discriminator
        self.is_listening = False
        _LOGGER.info("commissioning window closed")
        for observer in list(self.on_closed):
            observer(now)
        self._notify(now)

    def clear_opener(self, fabric_index: int, now: float) -> None:
        """Clear the opener's fabric index if it is of this fabric, which was removed."""
        if self.opener is not None and self.opener.fabric_index == fabric_index:
            self.opener = Opener(None, self.opener.vendor_id)
            self._notify(now)

    # Calls from PASE

    def pase_verifier(self) -> PasscodeVerifier | None:
        """Return the verifier, or None while the node is not in commissioning mode."""
        return self._verifier if self.is_listening else None

    def on_pase_established(self, session: SecureSession, now: float) -> None:
        """Arm the fail-safe for a new PASE session, and accept no other until it ends."""
        self.is_listening = False
        if not self._fail_safe.is_armed:
            self._fail_safe.arm(0, FAIL_SAFE_LENGTH_S, now)
        self._notify(now)

    def on_pase_failed(self, now: float) -> None:
        """Count a failed attempt, and close the window after too many."""
        if not self.is_open:
            return
        self._failures += 1
        if self._failures >= MAX_PASE_FAILURES:
            _LOGGER.warning(
                "closing the commissioning window after %d failed attempts", self._failures
            )
            self.close(now)

    def _on_timeout(self, now: float) -> None:
        self._timer = None
        self.close(now)

    def _on_fail_safe_ended(self, now: float) -> None:
        if not self.is_open or self.is_listening:
            return
        self.on_pase_failed(now)
        if self.is_open:
            self.is_listening = True
            self._notify(now)

    def _notify(self, now: float) -> None:
        for observer in list(self.on_changed):
            observer(now)
