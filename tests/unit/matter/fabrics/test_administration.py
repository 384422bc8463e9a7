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
        self.told: list[float] = []
        self.administration.on_decommissioned.append(self.told.append)

    def add_session(self, auth_mode: AuthMode, fabric_index: int = 0) -> SecureSession:
        session = make_session(Subject(auth_mode, fabric_index), self.sessions.reserve_id())
        self.sessions.add(session, NOW)
        return session

    def commission(self, now: float = NOW) -> SecureSession:
        """A commissioner gets in over PASE and adds a fabric."""
        pase = self.add_session(AuthMode.PASE)
        self.window.on_pase_established(pase, now)
        pase.fabric_index = add_pending(self.fabrics).index
        self.fail_safe.set_noc_added(pase.fabric_index)
        return pase


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_a_new_node_opens_its_window(setup: Setup) -> None:
    setup.administration.start(NOW)
    assert setup.window.is_open
    setup.timers.run(NOW + 900.0)
    assert not setup.window.is_open


def test_a_commissioned_node_does_not(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.administration.start(NOW)
    assert not setup.window.is_open


def test_completion_makes_the_fabric_last(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    case = setup.add_session(AuthMode.CASE, 1)
    assert setup.store.get("fabric/1") is None
    setup.fail_safe.complete(NOW + 10.0)
    assert setup.store.get("fabric/1") is not None
    assert list(setup.sessions) == [case]
    assert pase.is_closing
    assert not setup.window.is_open


def test_a_power_cut_before_completion_leaves_a_new_node(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.store.commit()
    assert not FabricTable(setup.store.after_power_cut())


def test_expiry_undoes_the_fabric_and_lets_the_next_in(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.add_session(AuthMode.CASE, 1)
    setup.timers.run(NOW + 60.0)
    assert not setup.fabrics
    assert not setup.sessions
    assert setup.window.pase_verifier() is not None
    assert setup.window.is_open


def test_a_session_answers_before_it_goes(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    pase.exchanges[1] = object()  # type: ignore[assignment]
    setup.fail_safe.expire(NOW + 1.0)
    assert list(setup.sessions) == [pase]
    assert pase.is_closing


def test_a_window_that_ran_out_meanwhile_opens_again(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission(NOW + 890.0)
    setup.timers.run(NOW + 900.0)
    assert not setup.window.is_open
    setup.timers.run(NOW + 950.0)
    assert setup.window.is_open


def test_a_window_that_was_tried_too_often_stays_closed(setup: Setup) -> None:
    setup.administration.start(NOW)
    for _ in range(19):
        setup.window.on_pase_failed(NOW)
    setup.commission()
    setup.timers.run(NOW + 60.0)
    assert not setup.window.is_open


def test_the_end_of_pase_ends_the_fail_safe(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(pase, NOW)
    setup.sessions.remove(pase, NOW + 1.0)
    assert not setup.fail_safe.is_armed
    assert setup.window.pase_verifier() is not None


def test_an_earlier_session_may_end_under_the_next_fail_safe(setup: Setup) -> None:
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


def test_the_end_of_pase_leaves_an_administrators_fail_safe(setup: Setup) -> None:
    pase = setup.add_session(AuthMode.PASE)
    setup.fail_safe.arm(1, 60, NOW)
    setup.sessions.remove(pase, NOW + 1.0)
    assert setup.fail_safe.is_armed


def test_after_add_noc_pase_may_end(setup: Setup) -> None:
    setup.administration.start(NOW)
    pase = setup.commission()
    setup.sessions.remove(pase, NOW + 1.0)
    assert setup.fail_safe.is_armed
    assert setup.fabrics


def test_an_update_is_undone(setup: Setup) -> None:
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


def test_removal_of_a_fabric(setup: Setup) -> None:
    add_fabric(setup.fabrics, 1)
    add_fabric(setup.fabrics, 2)
    log: list[object] = []
    # Whoever wants to say goodbye still finds everything in place.
    setup.administration.on_fabric_leaving.append(
        lambda index, now: log.append((index, index in setup.fabrics, len(setup.sessions)))
    )
    setup.administration.report_to_fabric = lambda index, now: log.append("farewell")
    asking, another, stranger = (setup.add_session(AuthMode.CASE, index) for index in (1, 1, 2))
    asking.exchanges[1] = object()  # type: ignore[assignment]
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.administration.remove_fabric(1, NOW, asking)
    assert log == [(1, True, 3), "farewell"]
    assert set(setup.sessions) == {asking, stranger}
    assert asking.is_closing
    assert not stranger.is_closing
    assert another.is_closing
    assert setup.window.opener == Opener(None, 0xFFF1)
    with pytest.raises(FabricError):
        setup.administration.remove_fabric(1, NOW)
    assert len(log) == 2


def test_without_its_last_fabric_a_node_lets_nobody_in(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    assert not setup.fabrics.is_decommissioned
    setup.administration.remove_fabric(1, NOW)
    assert setup.fabrics.is_decommissioned
    assert setup.told == [NOW]
    assert is_decommissioned(setup.store)
    # Also what the last administrator had opened is closed, and nothing opens it again.
    assert not setup.window.is_open
    setup.administration.start(NOW + 1.0)
    setup.timers.run(NOW + 1000.0)
    assert not setup.window.is_open
    assert setup.told == [NOW]


def test_the_last_answer_is_waited_for(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    asking = setup.add_session(AuthMode.CASE, 1)
    asking.exchanges[1] = object()  # type: ignore[assignment]
    setup.administration.remove_fabric(1, NOW, asking)
    assert setup.told == []
    setup.sessions.remove(asking, NOW + 1.0)
    assert setup.told == [NOW + 1.0]
    setup.timers.run(NOW + 10.0)
    assert setup.told == [NOW + 1.0]


def test_the_last_answer_is_not_waited_for_long(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    asking = setup.add_session(AuthMode.CASE, 1)
    asking.exchanges[1] = object()  # type: ignore[assignment]
    setup.administration.remove_fabric(1, NOW, asking)
    setup.timers.run(NOW + 5.0)
    assert setup.told == [NOW + 5.0]
    setup.sessions.remove(asking, NOW + 6.0)
    assert setup.told == [NOW + 5.0]


def test_who_is_just_commissioning_a_node_loses_it_with_its_last_fabric(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    pase = setup.add_session(AuthMode.PASE)
    setup.window.on_pase_established(pase, NOW)
    setup.administration.remove_fabric(1, NOW)
    assert not setup.sessions
    assert not setup.fail_safe.is_armed
    assert setup.told == [NOW]


def test_a_fabric_that_is_being_added_may_become_the_only_one(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    assert setup.told == []
    setup.fail_safe.complete(NOW + 10.0)
    assert [fabric.index for fabric in setup.fabrics] == [2]
    assert setup.told == []
    assert not is_decommissioned(setup.store)


def test_a_fabric_that_was_to_take_over_and_failed(setup: Setup) -> None:
    add_fabric(setup.fabrics)
    setup.window.open_basic(900, NOW, Opener(1, 0xFFF1))
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    # A power cut at this point comes to the same.
    assert is_decommissioned(setup.store)
    setup.timers.run(NOW + 60.0)
    assert setup.told == [NOW + 60.0]
    assert not setup.window.is_open


def test_commissioning_that_fails_abandons_no_node(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.timers.run(NOW + 60.0)
    assert not setup.fabrics.is_decommissioned
    assert setup.told == []
    assert setup.window.is_open


def test_removal_of_the_fabric_that_holds_the_fail_safe(setup: Setup) -> None:
    add_fabric(setup.fabrics, 1)
    add_fabric(setup.fabrics, 2)
    setup.fail_safe.arm(1, 60, NOW)
    setup.administration.remove_fabric(2, NOW)
    assert setup.fail_safe.is_armed
    setup.administration.remove_fabric(1, NOW)
    assert not setup.fail_safe.is_armed
    assert not setup.fabrics


def test_removal_of_a_pending_fabric(setup: Setup) -> None:
    setup.administration.start(NOW)
    setup.commission()
    setup.administration.remove_fabric(1, NOW)
    assert not setup.fabrics
    assert setup.window.pase_verifier() is not None
