import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.servers.root.administrator_commissioning import StatusCode
from evse_node.errors import StatusError
from evse_node.matter.fabrics.commissioning import WindowStatus
from evse_node.matter.interaction.status import Status
from evse_node.matter.secure_channel.spake2p import compute_verifier
from tests.support.matter.root_node import RootNode

_SALT = b"SPAKE2P Key Salt"
W0, L = compute_verifier(20202021, _SALT, 1000)


@pytest.fixture
def root() -> RootNode:
    node = RootNode()
    node.add_fabric(1)
    return node


def open_enhanced(root: RootNode, **changes: Value) -> None:
    fields: dict[str, Value] = {
        "commissioning_timeout": 180,
        "pake_passcode_verifier": W0 + L,
        "discriminator": 1234,
        "iterations": 1000,
        "salt": _SALT,
    }
    root.invoke(
        root.administrator, "open_commissioning_window", root.case(), **{**fields, **changes}
    )


def attributes(root: RootNode) -> tuple[Value, ...]:
    names = ("window_status", "admin_fabric_index", "admin_vendor_id")
    return tuple(root.read(root.administrator, name) for name in names)


CLOSED = (WindowStatus.NOT_OPEN, None, None)


def test_enhanced_window_opens(root: RootNode) -> None:
    assert attributes(root) == CLOSED
    open_enhanced(root)
    assert attributes(root) == (WindowStatus.ENHANCED_OPEN, 1, 0xFFF1)
    assert root.reported() == {"window_status", "admin_fabric_index", "admin_vendor_id"}
    verifier = root.window.pase_verifier()
    assert verifier is not None
    assert (verifier.w0, verifier.L, verifier.salt, verifier.iterations) == (W0, L, _SALT, 1000)
    assert (root.window.discriminator, root.window.commissioning_mode) == (1234, 2)
    root.timers.run(root.now + 180.0)
    assert attributes(root) == CLOSED
    assert root.reported() == {"window_status", "admin_fabric_index", "admin_vendor_id"}


@pytest.mark.parametrize(
    ("changes", "status", "cluster_status"),
    [
        ({"commissioning_timeout": 179}, Status.INVALID_COMMAND, None),
        ({"commissioning_timeout": 901}, Status.INVALID_COMMAND, None),
        ({"discriminator": 4096}, Status.INVALID_COMMAND, None),
        ({"iterations": 999}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        ({"iterations": 100001}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        ({"salt": bytes(15)}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        ({"salt": bytes(33)}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        ({"pake_passcode_verifier": b""}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        ({"pake_passcode_verifier": W0 + L[:-1]}, Status.FAILURE, StatusCode.PAKE_PARAMETER_ERROR),
        (
            {"pake_passcode_verifier": W0 + L + b"\0"},
            Status.FAILURE,
            StatusCode.PAKE_PARAMETER_ERROR,
        ),
        (
            {"pake_passcode_verifier": bytes(32) + L},
            Status.FAILURE,
            StatusCode.PAKE_PARAMETER_ERROR,
        ),
        (
            {"pake_passcode_verifier": W0 + L[:-1] + bytes((L[-1] ^ 1,))},
            Status.FAILURE,
            StatusCode.PAKE_PARAMETER_ERROR,
        ),
    ],
)
def test_invalid_window_is_refused(
    root: RootNode, changes: dict[str, Value], status: Status, cluster_status: int | None
) -> None:
    with pytest.raises(StatusError) as error:
        open_enhanced(root, **changes)
    assert (error.value.status, error.value.cluster_status) == (status, cluster_status)
    assert attributes(root) == CLOSED


@pytest.mark.parametrize(
    "changes", [{"commissioning_timeout": 900}, {"salt": bytes(32)}, {"iterations": 100000}]
)
def test_window_at_limits_is_accepted(root: RootNode, changes: dict[str, Value]) -> None:
    open_enhanced(root, **changes)
    assert root.window.is_open


def open_basic(root: RootNode, timeout: int = 180) -> None:
    root.invoke(
        root.administrator,
        "open_basic_commissioning_window",
        root.case(),
        commissioning_timeout=timeout,
    )


def test_basic_window_opens(root: RootNode) -> None:
    for timeout in (179, 901):
        with pytest.raises(StatusError) as error:
            open_basic(root, timeout)
        assert error.value.status == Status.INVALID_COMMAND
    open_basic(root)
    assert attributes(root) == (WindowStatus.BASIC_OPEN, 1, 0xFFF1)
    assert root.window.commissioning_mode == 1


def test_second_window_is_busy(root: RootNode) -> None:
    open_basic(root)
    for attempt in (open_basic, open_enhanced):
        with pytest.raises(StatusError) as error:
            attempt(root)
        assert (error.value.status, error.value.cluster_status) == (
            Status.FAILURE,
            StatusCode.BUSY,
        )
    root.window.close(root.now)
    root.fail_safe.arm(1, 60, root.now)
    with pytest.raises(StatusError) as error:
        open_enhanced(root)
    assert error.value.cluster_status == StatusCode.BUSY


def test_window_requires_accessing_fabric(root: RootNode) -> None:
    context = root.pase()
    with pytest.raises(StatusError) as error:
        root.invoke(
            root.administrator,
            "open_basic_commissioning_window",
            context,
            commissioning_timeout=180,
        )
    assert error.value.cluster_status == StatusCode.PAKE_PARAMETER_ERROR


def revoke(root: RootNode) -> None:
    root.invoke(root.administrator, "revoke_commissioning", root.case())


def test_revoke_closes_window(root: RootNode) -> None:
    with pytest.raises(StatusError) as error:
        revoke(root)
    assert (error.value.status, error.value.cluster_status) == (
        Status.FAILURE,
        StatusCode.WINDOW_NOT_OPEN,
    )
    open_enhanced(root)
    revoke(root)
    assert attributes(root) == CLOSED
    assert not root.window.is_open


def test_revoke_rolls_back_admitted_commissioning(root: RootNode) -> None:
    open_enhanced(root)
    session = root.pase().session
    assert root.fail_safe.is_armed
    revoke(root)
    assert not root.fail_safe.is_armed
    assert not root.window.is_open
    assert all(other.is_closing for other in root.sessions if other is session)


def test_factory_window_is_not_announced_as_opened(root: RootNode) -> None:
    root.window.open_basic(900, root.now)
    assert attributes(root) == CLOSED
    assert root.reported() == set()
    revoke(root)
    assert not root.window.is_open


def test_window_survives_removal_of_opener(root: RootNode) -> None:
    root.add_fabric(2)
    open_enhanced(root)
    root.reported()
    root.administration.remove_fabric(1, root.now)
    assert attributes(root) == (WindowStatus.ENHANCED_OPEN, None, 0xFFF1)
    assert "admin_fabric_index" in root.reported()
