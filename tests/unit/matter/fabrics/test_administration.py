import pytest

from evse_node.matter.crypto import KeyPair
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.fabrics.administration import Administration
from evse_node.matter.fabrics.commissioning import (
    CommissioningWindow,
    FailSafe,
    Opener,
    PasscodeVerifier,
)
from evse_node.matter.fabrics.fabric import FabricTable, is_decommissioned
from evse_node.matter.fabrics.fabric_identity import FabricError
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.timers import Timers
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import seeded_bytes
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.fake_fabric import add_fabric, add_pending, make_session

NOW = 100.0


class Setup:
    def __init__(self) -> None:
        self.timers = Timers()
        self.store = MemoryStore()
        self.fabrics = FabricTable(self.store)
        self.sessions = SessionTable(seeded_bytes(1))
        self.fail_safe = FailSafe(self.timers)
        self.window = CommissioningWindow(
            self.timers,
            self.fail_safe,
            factory_verifier=PasscodeVerifier(bytes(32), bytes(65), bytes(16), 1000),
            factory_discriminator=3840,
        )
        self.administration = Administration(
            self.timers, self.fabrics, self.sessions, self.fail_safe, self.window
        )
        self.notified: list[float] = []
        self.administration.on_decommissioned.append(self.notified.append)

    def add_session(self, auth_mode: AuthMode, fabric_index: int = 0) -> SecureSession:
        session = make_session(Subject(auth_mode, fabric_index), self.sessions.reserve_id())
        self.sessions.add(session, NOW)
        return session

    def commission(self, now: float = NOW) -> SecureSession:
        """Establish PASE and add a pending fabric."""
        pase = self.add_session(AuthMode.PASE)
        self.window.on_pase_established(pase, now)
        pase.fabric_index = add_pending(self.fabrics).index
        self.fail_safe.set_noc_added(pase.fabric_index)
        return pase


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_window_opens_at_start_without_fabrics(setup: Setup) -> None:
    setup.administration.start(NOW)
    assert setup.window.is_open
    setup.timers.run(NOW + 900.0)
    assert not setup.window.is_open


def test_window_stays_closed_at_start_with_a_fabric(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.administration.start(NOW)
    assert not setup.window.is_open


def test_commissioning_complete_stores_fabric_and_ends_pase(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    case = setup.add_session(AuthMode.CASE, 1)
    assert setup.store.get("fabric/1") is None
    setup.fail_safe.complete(NOW + 10.0)
    assert setup.store.get("fabric/1") is not None
    assert list(setup.sessions) == [case]
    assert pase.is_closing
    assert not setup.window.is_open


def test_power_cut_before_completion_leaves_no_fabric(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.store.commit()
    assert not FabricTable(setup.store.after_power_cut())


def test_fail_safe_expiry_reverts_fabric_and_accepts_pase_again(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.add_session(AuthMode.CASE, 1)
    setup.timers.run(NOW + 60.0)
    assert not setup.fabrics
    assert not setup.sessions
    assert setup.window.pase_verifier() is not None
    assert setup.window.is_open


def test_session_with_open_exchange_ends_after_its_response(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    pase.exchanges[1] = object()  # type: ignore[assignment]
    setup.fail_safe.expire(NOW + 1.0)
    assert list(setup.sessions) == [pase]
    assert pase.is_closing


def test_window_that_timed_out_during_attempt_opens_again(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission(NOW + 890.0)
    setup.timers.run(NOW + 900.0)
    assert not setup.window.is_open
    setup.timers.run(NOW + 950.0)
    assert setup.window.is_open


def test_window_closed_by_failures_stays_closed(setup: Setup) -> None:
    setup.administration.start(NOW)
    for _ in range(19):
        setup.window.on_pase_failed(NOW)
    setup.commission()
    setup.timers.run(NOW + 60.0)
    assert not setup.window.is_open


def test_fail_safe_expires_when_pase_session_ends(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(pase, NOW)
    setup.sessions.remove(pase, NOW + 1.0)
    assert not setup.fail_safe.is_armed
    assert setup.window.pase_verifier() is not None


def test_fail_safe_is_not_expired_by_end_of_earlier_pase_session(setup: Setup) -> None:
    setup.administration.start(NOW)
    first = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(first, NOW)
    first.exchanges[1] = object()  # type: ignore[assignment]
    setup.fail_safe.expire(NOW + 1.0)
    assert first.is_closing
    second = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(second, NOW + 2.0)
    setup.sessions.remove(first, NOW + 3.0)
    assert setup.fail_safe.is_armed
    setup.sessions.remove(second, NOW + 4.0)
    assert not setup.fail_safe.is_armed


def test_fail_safe_of_administrator_outlasts_pase_session(setup: Setup) -> None:
    pase = setup.add_session(AuthMode.PASE)
    setup.fail_safe.arm(1, 60, NOW)
    setup.sessions.remove(pase, NOW + 1.0)
    assert setup.fail_safe.is_armed


def test_fail_safe_outlasts_pase_session_after_add_noc(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    setup.sessions.remove(pase, NOW + 1.0)
    assert setup.fail_safe.is_armed
    assert setup.fabrics


def test_fail_safe_expiry_reverts_updated_noc(setup: Setup) -> None:
    authority = CertificateAuthority()
    old = add_fabric(setup.fabrics, authority=authority)
    other = add_fabric(setup.fabrics, 2)
    mine, theirs = (setup.add_session(AuthMode.CASE, index) for index in (1, 2))
    setup.fail_safe.arm(old.index, 60, NOW)
    key = KeyPair.generate()
    noc = authority.issue_noc(key.public_key, 0x77)
    setup.fabrics.update_pending(old.index, noc, authority.icac, key)
    setup.fail_safe.is_noc_updated = True
    setup.timers.run(NOW + 60.0)
    assert list(setup.fabrics) == [old, other]
    assert list(setup.sessions) == [theirs]
    assert mine.is_closing


def test_removed_fabric_receives_report_and_its_sessions_end(setup: Setup) -> None:
    add_fabric(setup.fabrics, 1)
    add_fabric(setup.fabrics, 2)
    log: list[object] = []
    # Fabric and sessions still exist when observers are called.
    setup.administration.on_fabric_leaving.append(
        lambda index, now: log.append((index, index in setup.fabrics, len(setup.sessions)))
    )
    setup.administration.report_to_fabric = lambda index, now: log.append("report")
    requesting, another, other = (setup.add_session(AuthMode.CASE, index) for index in (1, 1, 2))
    requesting.exchanges[1] = object()  # type: ignore[assignment]
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.administration.remove_fabric(1, NOW, requesting)
    assert log == [(1, True, 3), "report"]
    assert set(setup.sessions) == {requesting, other}
    assert requesting.is_closing
    assert not other.is_closing
    assert another.is_closing
    assert setup.window.opener == Opener(None, 0xFFF1)
    with pytest.raises(FabricError):
        setup.administration.remove_fabric(1, NOW)
    assert len(log) == 2


def test_decommissioned_node_keeps_window_closed(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    assert not setup.fabrics.is_decommissioned
    setup.administration.remove_fabric(1, NOW)
    assert setup.fabrics.is_decommissioned
    assert setup.notified == [NOW]
    assert is_decommissioned(setup.store)
    # The window of the last administrator is closed, and none opens again.
    assert not setup.window.is_open
    setup.administration.start(NOW + 1.0)
    setup.timers.run(NOW + 1000.0)
    assert not setup.window.is_open
    assert setup.notified == [NOW]


def test_decommissioning_is_notified_after_last_response(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    requesting = setup.add_session(AuthMode.CASE, 1)
    requesting.exchanges[1] = object()  # type: ignore[assignment]
    setup.administration.remove_fabric(1, NOW, requesting)
    assert setup.notified == []
    setup.sessions.remove(requesting, NOW + 1.0)
    assert setup.notified == [NOW + 1.0]
    setup.timers.run(NOW + 10.0)
    assert setup.notified == [NOW + 1.0]


def test_decommissioning_is_notified_after_5_s_without_last_response(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    requesting = setup.add_session(AuthMode.CASE, 1)
    requesting.exchanges[1] = object()  # type: ignore[assignment]
    setup.administration.remove_fabric(1, NOW, requesting)
    setup.timers.run(NOW + 5.0)
    assert setup.notified == [NOW + 5.0]
    setup.sessions.remove(requesting, NOW + 6.0)
    assert setup.notified == [NOW + 5.0]


def test_removal_of_last_fabric_ends_commissioning_before_add_noc(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    pase = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(pase, NOW)
    setup.administration.remove_fabric(1, NOW)
    assert not setup.sessions
    assert not setup.fail_safe.is_armed
    assert setup.notified == [NOW]


def test_pending_fabric_completes_after_removal_of_the_last_one(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    assert setup.notified == []
    setup.fail_safe.complete(NOW + 10.0)
    assert [fabric.index for fabric in setup.fabrics] == [2]
    assert setup.notified == []
    assert not is_decommissioned(setup.store)


def test_node_is_decommissioned_when_pending_fabric_fails_after_removal_of_the_last_one(
    setup: Setup,
) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    # A power cut at this point has the same effect.
    assert is_decommissioned(setup.store)
    setup.timers.run(NOW + 60.0)
    assert setup.notified == [NOW + 60.0]
    assert not setup.window.is_open


def test_failed_first_commissioning_does_not_decommission(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.timers.run(NOW + 60.0)
    assert not setup.fabrics.is_decommissioned
    assert setup.notified == []
    assert setup.window.is_open


def test_fail_safe_expires_when_its_fabric_is_removed(setup: Setup) -> None:
    add_fabric(setup.fabrics, 1)
    add_fabric(setup.fabrics, 2)
    setup.fail_safe.arm(1, 60, NOW)
    setup.administration.remove_fabric(2, NOW)
    assert setup.fail_safe.is_armed
    setup.administration.remove_fabric(1, NOW)
    assert not setup.fail_safe.is_armed
    assert not setup.fabrics


def test_window_accepts_pase_after_removal_of_pending_fabric(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    assert not setup.fabrics
    assert setup.window.pase_verifier() is not None
