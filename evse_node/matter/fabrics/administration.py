"""What fabrics, sessions, the fail-safe and the commissioning window do to each other.

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
# For the last answer, and its acknowledgement, of a node that is about to begin anew.
_LAST_WORDS_S: Final = 5.0


class Administration:
    """Keeps the four in step.

    A node without fabrics opens its window when it starts and when commissioning fails.
    One that has lost its last fabric lets nobody in any more: what was made for its
    fabrics goes with them, so it has to begin anew. `on_abandoned` observers hear of it,
    once, when whoever removed that fabric has the answer, or after 5 s.

    `on_leaving` observers are called with fabric index and `now` before a fabric is removed
    by command, while its sessions and access control still stand; `send_farewell` comes
    after them, to report to that fabric what they have recorded.
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
        self.is_abandoned = False
        self.fabrics = fabrics
        self.sessions = sessions
        self.fail_safe = fail_safe
        self.window = window
        self.on_abandoned: list[Callable[[float], None]] = []
        self.on_leaving: list[Callable[[int, float], None]] = []
        self.send_farewell: Callable[[int, float], None] = lambda index, now: None
        fail_safe.on_rollback.append(self._on_rollback)
        fail_safe.on_completed.append(self._on_completed)
        fail_safe.on_ended.append(self._on_fail_safe_ended)
        sessions.on_removed.append(self._on_session_removed)

    def start(self, now: float) -> None:
        """Open the window of a node that has no fabric yet."""
        if self.fabrics or self.is_abandoned:
            return
        if not self.window.is_open and not self.fail_safe.is_armed:
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
        if self.fabrics.has_lost_all:
            self._abandon(now)
        else:
            self.start(now)

    def _abandon(self, now: float) -> None:
        """Let go of everyone, now that the last fabric is gone."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        # Not even a window that the last administrator had opened outlives its fabric.
        self.window.close(now)
        self.fail_safe.expire(now)
        for session in self.sessions:
            self.sessions.expire(session, now)
        if self.sessions:
            self._timer = self._timers.call_at(now + _LAST_WORDS_S, self._begin_anew)
        else:
            self._begin_anew(now)

    def _begin_anew(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for observer in list(self.on_abandoned):
            observer(now)

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
        if self.fabrics.has_lost_all:
            # The last fabric was removed while another one was about to be added.
            self._abandon(now)
            return
        # The window had run out while the last commissioner was at work.
        if not self.fabrics and not self.window.is_open and not self.window.is_exhausted:
            self.window.open_basic(INITIAL_WINDOW_S, now)

    def _on_session_removed(self, session: SecureSession, now: float) -> None:
        if self._timer is not None and not self.sessions:
            self._begin_anew(now)
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
