"""What fabrics, sessions, the fail-safe and the commissioning window do to each other.

Not implemented: RemoveFabric Command, of the last fabric, as far as it is to take along
what administrators wrote that is of no fabric, such as NodeLabel.

Spec: Matter Core 1.3 "Commissioning", "Fail Safe Context", "RemoveFabric Command"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.matter.commissioning import MAX_WINDOW_S, CommissioningWindow, FailSafe
from evse_node.matter.fabric import FabricTable
from evse_node.matter.fabric_identity import FabricError, NodeOperationalCertStatus
from evse_node.matter.session import SecureSession
from evse_node.matter.session_table import SessionTable

INITIAL_WINDOW_S: Final = MAX_WINDOW_S


class Administration:
    """Keeps the four in step.

    A node without fabrics opens its window when it starts and whenever it has lost its
    last fabric. `on_leaving` observers are called with fabric index and `now` before a
    fabric is removed by command, while its sessions and access control still stand;
    `send_farewell` comes after them, to report to that fabric what they have recorded.
    """

    def __init__(
        self,
        fabrics: FabricTable,
        sessions: SessionTable,
        fail_safe: FailSafe,
        window: CommissioningWindow,
    ) -> None:
        self.fabrics = fabrics
        self.sessions = sessions
        self.fail_safe = fail_safe
        self.window = window
        self.on_leaving: list[Callable[[int, float], None]] = []
        self.send_farewell: Callable[[int, float], None] = lambda index, now: None
        fail_safe.on_rollback.append(self._on_rollback)
        fail_safe.on_completed.append(self._on_completed)
        fail_safe.on_ended.append(self._on_fail_safe_ended)
        sessions.on_removed.append(self._on_session_removed)

    def start(self, now: float) -> None:
        """Open the window of a node that has no fabric yet."""
        if not self.fabrics and not self.window.is_open and not self.fail_safe.is_armed:
            self.window.open_basic(INITIAL_WINDOW_S, now)

    def remove_fabric(self, index: int, now: float, keep: SecureSession | None = None) -> None:
        """Leave a fabric; its sessions end, `keep` after it has answered.

        A fail-safe that belongs to this fabric expires first. Raises FabricError when there
        is no such fabric.
        """
        if index not in self.fabrics:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        for observer in list(self.on_leaving):
            observer(index, now)
        self.send_farewell(index, now)
        if self.fail_safe.is_armed_by(index):
            self.fail_safe.expire(now)
        if index in self.fabrics:
            self.fabrics.remove(index)
        self.window.forget_fabric(index, now)
        self.end_sessions(index, now, keep)
        self.start(now)

    def end_sessions(self, index: int, now: float, keep: SecureSession | None = None) -> None:
        """End a fabric's sessions, because its identity changed; `keep` after it answered."""
        self.sessions.remove_fabric(index, now, keep)

    def _on_rollback(self, now: float) -> None:
        fail_safe = self.fail_safe
        if fail_safe.has_noc_command:
            index = fail_safe.fabric_index
            # A session may be carrying the very command that ends the fail-safe.
            self._expire_sessions(now, lambda session: session.fabric_index == index)
            self.fabrics.revert_pending()
            if index not in self.fabrics:
                self.window.forget_fabric(index, now)
        self._expire_sessions(now, _is_pase)

    def _on_completed(self, now: float) -> None:
        self.fabrics.commit_pending()
        self._expire_sessions(now, _is_pase)

    def _on_fail_safe_ended(self, now: float) -> None:
        # The window had run out while the last commissioner was at work.
        if not self.fabrics and not self.window.is_open and not self.window.is_exhausted:
            self.window.open_basic(INITIAL_WINDOW_S, now)

    def _on_session_removed(self, session: SecureSession, now: float) -> None:
        # After AddNOC the commissioner goes on over CASE and may let go of PASE. An earlier
        # commissioner's session may linger for its last answer; the fail-safe is not its own.
        is_gone = not any(_is_pase(each) and not each.is_closing for each in self.sessions)
        if _is_pase(session) and is_gone and self.fail_safe.is_armed_by(0):
            self.fail_safe.expire(now)

    def _expire_sessions(self, now: float, concerned: Callable[[SecureSession], bool]) -> None:
        for session in self.sessions:
            if concerned(session):
                self.sessions.expire(session, now)


def _is_pase(session: SecureSession) -> bool:
    return not session.is_case
