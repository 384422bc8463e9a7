import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.general_commissioning import (
    CommissioningError,
    RegulatoryLocation,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.commissioning import Opener
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode

Error = CommissioningError


@pytest.fixture
def root() -> RootNode:
    node = RootNode()
    node.add_fabric(1)
    node.add_fabric(2)
    return node


def arm(root: RootNode, context: InteractionContext, seconds: int, breadcrumb: int = 0) -> object:
    reply = root.invoke(
        root.commissioning,
        "arm_fail_safe",
        context,
        expiry_length_seconds=seconds,
        breadcrumb=breadcrumb,
    )
    return reply["error_code"]


def test_attributes_have_factory_values(root: RootNode) -> None:
    cluster = root.commissioning
    assert root.read(cluster, "basic_commissioning_info") == {
        "fail_safe_expiry_length_seconds": 60,
        "max_cumulative_failsafe_seconds": 900,
    }
    assert root.read(cluster, "regulatory_config") == RegulatoryLocation.INDOOR_OUTDOOR
    assert root.read(cluster, "supports_concurrent_connection") is True
    root.write(cluster, "breadcrumb", 7, root.case())
    assert root.read(cluster, "breadcrumb") == 7


def test_fail_safe_of_other_fabric_is_busy(root: RootNode) -> None:
    assert arm(root, root.case(1), 60, 1) == Error.OK
    assert root.read(root.commissioning, "breadcrumb") == 1
    assert arm(root, root.case(2), 60, 2) == Error.BUSY_WITH_OTHER_ADMIN
    assert arm(root, root.case(2), 0) == Error.BUSY_WITH_OTHER_ADMIN
    assert root.read(root.commissioning, "breadcrumb") == 1
    assert arm(root, root.case(1), 0, 3) == Error.OK
    assert root.read(root.commissioning, "breadcrumb") == 0
    assert not root.fail_safe.is_armed
    assert arm(root, root.case(1), 0) == Error.OK


def test_fail_safe_expiry_resets_breadcrumb(root: RootNode) -> None:
    arm(root, root.case(1), 60, 1)
    root.timers.run(root.now + 60.0)
    assert root.read(root.commissioning, "breadcrumb") == 0


def test_open_window_reserves_fail_safe_for_pase(root: RootNode) -> None:
    root.window.open_basic(900, root.now, Opener(1, 0xFFF1))
    assert arm(root, root.case(1), 60) == Error.BUSY_WITH_OTHER_ADMIN
    context = root.pase()
    assert arm(root, context, 900) == Error.OK
    assert arm(root, root.case(1), 60) == Error.BUSY_WITH_OTHER_ADMIN


def test_completion_requires_case_on_same_fabric(root: RootNode) -> None:
    def complete(context: InteractionContext) -> object:
        return root.invoke(root.commissioning, "commissioning_complete", context)["error_code"]

    assert complete(root.case(1)) == Error.NO_FAIL_SAFE
    arm(root, root.case(1), 60, 9)
    assert complete(root.case(2)) == Error.INVALID_AUTHENTICATION
    assert root.fail_safe.is_armed
    assert complete(root.case(1)) == Error.OK
    assert not root.fail_safe.is_armed
    assert root.read(root.commissioning, "breadcrumb") == 0
    context = root.pase()
    assert complete(context) == Error.INVALID_AUTHENTICATION


def regulate(root: RootNode, config: int, country: str = "DE", breadcrumb: int = 5) -> object:
    reply = root.invoke(
        root.commissioning,
        "set_regulatory_config",
        root.case(1),
        new_regulatory_config=config,
        country_code=country,
        breadcrumb=breadcrumb,
    )
    return reply["error_code"]


def test_regulatory_config_sets_location(root: RootNode) -> None:
    assert regulate(root, RegulatoryLocation.OUTDOOR) == Error.OK
    assert root.read(root.commissioning, "regulatory_config") == RegulatoryLocation.OUTDOOR
    assert root.read(root.commissioning, "breadcrumb") == 5
    assert root.read(root.basic, "location") == "DE"
    assert regulate(root, 3, "FR", 6) == Error.VALUE_OUTSIDE_RANGE
    assert root.read(root.basic, "location") == "DE"
    assert root.read(root.commissioning, "breadcrumb") == 5
    for country in ("D", "DEU", ""):
        with pytest.raises(StatusError) as error:
            regulate(root, RegulatoryLocation.INDOOR, country)
        assert error.value.status == Status.CONSTRAINT_ERROR


def test_regulatory_config_outside_capability_is_refused(root: RootNode) -> None:
    root.commissioning = type(root.commissioning)(
        load_definitions()["General Commissioning"],
        root.fail_safe,
        root.window,
        root.basic.set_location,
        location_capability=RegulatoryLocation.OUTDOOR,
    )
    root.commissioning.attach(0, root.environment)
    assert regulate(root, RegulatoryLocation.INDOOR) == Error.VALUE_OUTSIDE_RANGE
    assert regulate(root, RegulatoryLocation.INDOOR_OUTDOOR) == Error.VALUE_OUTSIDE_RANGE
    assert regulate(root, RegulatoryLocation.OUTDOOR) == Error.OK
