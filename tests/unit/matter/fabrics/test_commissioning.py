import pytest

from evse_node.errors import SessionError
from evse_node.matter.crypto import KeyPair
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.fabrics.commissioning import (
    CommissioningWindow,
    FailSafe,
    Opener,
    PasscodeVerifier,
    WindowStatus,
)
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.timers import Timers
from tests.support.matter.fake_fabric import make_session

FACTORY = PasscodeVerifier(bytes(32), bytes(65), b"factory salt 016", 1000)
CHOSEN = PasscodeVerifier(bytes(32), bytes(65), b"chosen salt 0016", 2000)
OPENER = Opener(1, 0xFFF1)


class Setup:
    def __init__(self) -> None:
        self.timers = Timers()
        self.fail_safe = FailSafe(self.timers)
        self.window = CommissioningWindow(
            self.timers, self.fail_safe, factory_verifier=FACTORY, factory_discriminator=3840
        )
        self.log: list[str] = []
        for name, observers in (
            ("rollback", self.fail_safe.on_rollback),
            ("completed", self.fail_safe.on_completed),
            ("ended", self.fail_safe.on_ended),
            ("closed", self.window.on_closed),
        ):
            observers.append(lambda now, name=name: self.log.append(name))  # type: ignore[misc]
        self.changes = 0
        self.window.on_changed.append(self._count)
        self.pase: SecureSession = make_session(Subject(AuthMode.PASE))

    def _count(self, now: float) -> None:
        self.changes += 1


@pytest.fixture
def setup() -> Setup:
    return Setup()


# Fail-safe


def test_fail_safe_expires_after_its_length(setup: Setup) -> None:
    setup.fail_safe.arm(1, 60, 100.0)
    assert setup.fail_safe.is_armed_by(1)
    assert not setup.fail_safe.is_armed_by(2)
    setup.timers.run(159.9)
    assert setup.fail_safe.is_armed
    setup.timers.run(160.0)
    assert not setup.fail_safe.is_armed
    assert setup.log == ["rollback", "ended"]
    assert setup.fail_safe.fabric_index == 0
    assert len(setup.timers) == 0


def test_fail_safe_expiry_can_be_extended_and_shortened(setup: Setup) -> None:
    setup.fail_safe.arm(1, 60, 100.0)
    setup.fail_safe.arm(1, 60, 150.0)
    setup.timers.run(209.0)
    assert setup.fail_safe.is_armed
    setup.fail_safe.arm(1, 1, 209.0)
    setup.timers.run(210.0)
    assert not setup.fail_safe.is_armed


def test_fail_safe_cannot_exceed_cumulative_limit(setup: Setup) -> None:
    setup.fail_safe.arm(1, 900, 100.0)
    setup.fail_safe.arm(1, 900, 800.0)
    setup.timers.run(999.0)
    assert setup.fail_safe.is_armed
    setup.timers.run(1000.0)
    assert not setup.fail_safe.is_armed
    # Arming it again restarts the cumulative limit.
    setup.fail_safe.arm(1, 900, 1000.0)
    setup.timers.run(1899.0)
    assert setup.fail_safe.is_armed


def test_completed_fail_safe_does_not_roll_back(setup: Setup) -> None:
    setup.fail_safe.arm(1, 60, 100.0)
    setup.fail_safe.complete(110.0)
    assert setup.log == ["completed", "ended"]
    setup.timers.run(1000.0)
    setup.fail_safe.expire(1000.0)
    setup.fail_safe.complete(1000.0)
    assert setup.log == ["completed", "ended"]


def test_fail_safe_context_is_cleared_after_rollback(setup: Setup) -> None:
    fail_safe = setup.fail_safe
    fail_safe.arm(0, 60, 100.0)
    fail_safe.csr_key = KeyPair.generate()
    fail_safe.is_csr_for_update = True
    fail_safe.root_certificate = b"root"
    fail_safe.set_noc_added(3)
    assert fail_safe.is_armed_by(3)
    assert fail_safe.has_noc_command
    seen: list[tuple[int, bool]] = []
    fail_safe.on_rollback.append(lambda now: seen.append((fail_safe.fabric_index, True)))
    fail_safe.on_rollback.append(fail_safe.expire)
    fail_safe.expire(110.0)
    assert seen == [(3, True)]
    assert fail_safe.csr_key is None
    assert not fail_safe.is_csr_for_update
    assert fail_safe.root_certificate is None
    assert not fail_safe.has_noc_command


# Window


def test_window_is_closed_initially(setup: Setup) -> None:
    window = setup.window
    assert not window.is_open
    assert window.pase_verifier() is None
    assert window.commissioning_mode == 0
    window.close(0.0)
    assert setup.changes == 0


def test_basic_window_opens_and_times_out(setup: Setup) -> None:
    window = setup.window
    window.open_basic(900, 100.0)
    assert window.status is WindowStatus.BASIC_OPEN
    assert window.pase_verifier() is FACTORY
    assert window.commissioning_mode == 1
    assert window.discriminator == 3840
    # WindowStatus reports only windows opened by an administrator.
    assert window.announced_status is WindowStatus.NOT_OPEN
    setup.timers.run(999.0)
    assert window.is_open
    setup.timers.run(1000.0)
    assert not window.is_open
    assert window.pase_verifier() is None
    assert setup.log == ["closed"]


def test_enhanced_window_uses_given_verifier_and_discriminator(setup: Setup) -> None:
    window = setup.window
    window.open_enhanced(180, 100.0, OPENER, CHOSEN, 1234)
    assert window.pase_verifier() is CHOSEN
    assert (window.commissioning_mode, window.discriminator) == (2, 1234)
    assert window.announced_status is WindowStatus.ENHANCED_OPEN
    assert window.opener == OPENER
    window.close(110.0)
    assert (window.commissioning_mode, window.discriminator) == (0, 3840)
    assert window.opener is None
    assert setup.changes == 2


def test_window_cannot_open_while_open_or_fail_safe_armed(setup: Setup) -> None:
    setup.window.open_basic(900, 100.0, OPENER)
    with pytest.raises(SessionError):
        setup.window.open_enhanced(180, 100.0, OPENER, CHOSEN, 1)
    setup.window.close(100.0)
    setup.fail_safe.arm(1, 60, 100.0)
    with pytest.raises(SessionError):
        setup.window.open_basic(900, 100.0)


def test_window_closes_after_twenty_failures(setup: Setup) -> None:
    window = setup.window
    window.open_basic(900, 100.0)
    for _ in range(19):
        window.on_pase_failed(110.0)
    assert window.is_open
    window.on_pase_failed(110.0)
    assert not window.is_open
    assert window.is_exhausted
    window.on_pase_failed(110.0)
    window.open_basic(900, 120.0)
    assert not window.is_exhausted
    window.on_pase_failed(121.0)
    assert window.is_open


def test_window_stops_listening_while_pase_fail_safe_is_armed(setup: Setup) -> None:
    window = setup.window
    window.open_basic(900, 100.0)
    window.on_pase_established(setup.pase, 110.0)
    assert window.is_open
    assert window.pase_verifier() is None
    assert window.commissioning_mode == 0
    assert setup.fail_safe.is_armed_by(0)
    assert setup.changes == 2
    setup.timers.run(170.0)
    assert setup.changes == 3
    assert window.pase_verifier() is FACTORY
    assert window.commissioning_mode == 1
    assert setup.log == ["rollback", "ended"]


def test_window_closes_after_twenty_expired_fail_safes(setup: Setup) -> None:
    setup.window.open_basic(900, 100.0)
    for _ in range(20):
        assert setup.window.is_open
        setup.window.on_pase_established(setup.pase, 110.0)
        setup.fail_safe.expire(111.0)
    assert not setup.window.is_open


def test_window_closes_on_commissioning_complete(setup: Setup) -> None:
    setup.window.open_basic(900, 100.0)
    setup.window.on_pase_established(setup.pase, 110.0)
    setup.fail_safe.complete(120.0)
    assert not setup.window.is_open
    assert setup.log == ["closed", "completed", "ended"]


def test_window_timeout_keeps_fail_safe_of_pase_session(setup: Setup) -> None:
    setup.window.open_basic(180, 100.0)
    setup.window.on_pase_established(setup.pase, 270.0)
    setup.timers.run(280.0)
    assert not setup.window.is_open
    assert setup.fail_safe.is_armed
    setup.timers.run(330.0)
    assert not setup.fail_safe.is_armed
    assert not setup.window.is_open


def test_opener_is_cleared_when_its_fabric_is_removed(setup: Setup) -> None:
    setup.window.open_basic(900, 100.0, OPENER)
    setup.window.clear_opener(2, 110.0)
    assert setup.window.opener == OPENER
    assert setup.changes == 1
    setup.window.clear_opener(1, 110.0)
    assert setup.window.opener == Opener(None, 0xFFF1)
    assert setup.changes == 2
    assert setup.window.announced_status is WindowStatus.BASIC_OPEN
