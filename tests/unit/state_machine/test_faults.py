from evse_node.state_machine.faults import FaultState, clear_fault, raise_fault, shown_fault

GROUND, HOT = FaultState.GROUND_FAULT, FaultState.OVER_TEMPERATURE


def test_the_newest_fault_is_shown() -> None:
    faults = raise_fault(raise_fault((), GROUND), HOT)
    assert shown_fault(faults) is HOT
    assert shown_fault(clear_fault(faults, HOT)) is GROUND
    assert shown_fault(clear_fault(faults, None)) is FaultState.NO_ERROR


def test_the_same_fault_again_changes_nothing() -> None:
    faults = (GROUND, HOT)
    assert raise_fault(faults, GROUND) == faults
    assert raise_fault(faults, FaultState.NO_ERROR) == faults


def test_clearing_what_is_not_there() -> None:
    assert clear_fault((GROUND,), HOT) == (GROUND,)
