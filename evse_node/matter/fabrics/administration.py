"""Coordination of fabrics, sessions, the fail-safe and the commissioning window.

Spec: Matter Core 1.3 "Commissioning", "Fail Safe Context", "RemoveFabric Command"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.matter.fabrics.commissioning import MAX_WINDOW_S, CommissioningWindow, FailSafe
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import FabricError, NodeOperationalCertStatus
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.timers import Timer, Timers

INITIAL_WINDOW_S: Final = MAX_WINDOW_S
# Time for the response to RemoveFabric, and its acknowledgement, before the factory reset.
_FINAL_RESPONSE_S: Final = 5.0


class Administration:
    """Coordinator of fabrics, sessions, the fail-safe and the commissioning window.

    A node without fabrics opens its window when it starts and when commissioning fails.
    After its last fabric was removed, a node is decommissioned: it accepts no further
    session and needs a factory reset. `on_decommissioned` observers are called once, when
    the administrator has the response, or after 5 s.

    `on_fabric_leaving` observers are called with fabric index and `now` before a command
    removes a fabric, while its sessions and access control still exist; `report_to_fabric`
    is called after them, to send that fabric the events that they recorded.
    """

    def __init__(
        self,
        timers: Timers,
        fabrics: FabricTable,
        sessions: SessionTable,
        fail_safe: FailSafe,
        window: CommissioningWindow,
    ) -> None:
        self._timers = timers
        self._timer: Timer | None = None
        self.is_decommissioned = False
        self.fabrics = fabrics
        self.sessions = sessions
        self.fail_safe = fail_safe
        self.window = window
        self.on_decommissioned: list[Callable[[float], None]] = []
        self.on_fabric_leaving: list[Callable[[int, float], None]] = []
        self.report_to_fabric: Callable[[int, float], None] = lambda index, now: None
        fail_safe.on_rollback.append(self._on_rollback)
        fail_safe.on_completed.append(self._on_completed)
        fail_safe.on_ended.append(self._on_fail_safe_ended)
        sessions.on_removed.append(self._on_session_removed)

    def start(self, now: float) -> None:
        """Open the window if the node has no fabric yet."""
        if self.fabrics or self.is_decommissioned:
            return
        if not self.window.is_open and not self.fail_safe.is_armed:
            self.window.open_basic(INITIAL_WINDOW_S, now)

    def remove_fabric(self, index: int, now: float, keep: SecureSession | None = None) -> None:
        """Remove a fabric and end its sessions, `keep` after it has sent the response.

        A fail-safe armed by this fabric expires first. Raises FabricError for an unknown
        fabric.
        """
        if index not in self.fabrics:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        for observer in list(self.on_fabric_leaving):
            observer(index, now)
        self.report_to_fabric(index, now)
        if self.fail_safe.is_armed_by(index):
            self.fail_safe.expire(now)
        if index in self.fabrics:
            self.fabrics.remove(index)
        self.window.clear_opener(index, now)
        self.sessions.remove_fabric(index, now, keep)
        if self.fabrics.is_decommissioned:
            self._decommission(now)
        else:
            self.start(now)

    def _decommission(self, now: float) -> None:
        """Close the window and end all sessions after the last fabric was removed."""
        if self.is_decommissioned:
            return
        self.is_decommissioned = True
        # Also a window that the last administrator opened.
        self.window.close(now)
        self.fail_safe.expire(now)
        for session in self.sessions:
            self.sessions.expire(session, now)
        if self.sessions:
            self._timer = self._timers.call_at(now + _FINAL_RESPONSE_S, self._notify_decommissioned)
        else:
            self._notify_decommissioned(now)

    def _notify_decommissioned(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for observer in list(self.on_decommissioned):
            observer(now)

    def _on_rollback(self, now: float) -> None:
        fail_safe = self.fail_safe
        if fail_safe.has_noc_command:
            index = fail_safe.fabric_index
            # Expire, not close: one may still have to answer the command that led here.
            self._expire_sessions(now, lambda session: session.fabric_index == index)
            self.fabrics.revert_pending()
            if index not in self.fabrics:
                self.window.clear_opener(index, now)
        self._expire_sessions(now, _is_pase)

    def _on_completed(self, now: float) -> None:
        self.fabrics.commit_pending()
        self._expire_sessions(now, _is_pase)

    def _on_fail_safe_ended(self, now: float) -> None:
        if self.fabrics.is_decommissioned:
            # The last fabric was removed while a new one was pending.
            self._decommission(now)
            return
        # The window timed out during the attempt.
        if not self.fabrics and not self.window.is_open and not self.window.is_exhausted:
            self.window.open_basic(INITIAL_WINDOW_S, now)

    def _on_session_removed(self, session: SecureSession, now: float) -> None:
        if self._timer is not None and not self.sessions:
            self._notify_decommissioned(now)
        # After AddNOC the commissioner continues over CASE and may close PASE. A closing session
        # of an earlier commissioner, which still sends a response, does not hold the fail-safe.
        was_last = not any(_is_pase(each) and not each.is_closing for each in self.sessions)
        if _is_pase(session) and was_last and self.fail_safe.is_armed_by(0):
            self.fail_safe.expire(now)

    def _expire_sessions(self, now: float, matches: Callable[[SecureSession], bool]) -> None:
        for session in self.sessions:
            if matches(session):
                self.sessions.expire(session, now)


def _is_pase(session: SecureSession) -> bool:
    return not session.is_case
