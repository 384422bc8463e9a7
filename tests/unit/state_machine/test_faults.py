from evse_node.state_machine import events as e
from evse_node.state_machine.enums import State
from evse_node.state_machine.faults import FaultState, clear_fault, raise_fault, shown_fault
from tests.unit.state_machine.machine import A, B, Machine

GROUND, HOT = FaultState.GROUND_FAULT, FaultState.OVER_TEMPERATURE


def test_newest_fault_is_shown() -> None:
    faults = raise_fault(raise_fault((), GROUND), HOT)
    assert shown_fault(faults) is HOT
    assert shown_fault(clear_fault(faults, HOT)) is GROUND
    assert shown_fault(clear_fault(faults, None)) is FaultState.NO_ERROR


def test_present_fault_raised_again_changes_nothing() -> None:
    faults = (GROUND, HOT)
    assert raise_fault(faults, GROUND) == faults
    assert raise_fault(faults, FaultState.NO_ERROR) == faults


def test_clearing_absent_fault_changes_nothing() -> None:
    assert clear_fault((GROUND,), HOT) == (GROUND,)


class TestObservedCauses:
    def test_fault_lasts_as_long_as_its_cause(self) -> None:
        machine = Machine().charge()
        machine.put(e.CausesObserved(frozenset({HOT})), e.FaultRaised(GROUND), e.FaultCleared())
        assert machine.state.faults == (HOT,)
        machine.put(e.CausesObserved(frozenset()))
        assert machine.state.faults == ()
        assert machine.state.state is State.PLUGGED_IN_CHARGING

    def test_other_faults_are_kept(self) -> None:
        machine = Machine()
        machine.put(e.FaultRaised(HOT), e.CausesObserved(frozenset()))
        assert machine.state.faults == (HOT,)

    def test_over_current_ends_with_unplugging(self) -> None:
        machine = Machine().charge()
        machine.put(e.FaultRaised(FaultState.OVER_CURRENT))
        machine.put(B)
        assert machine.state.faults
        machine.put(A)
        assert not machine.state.faults
