"""The charger's faults as those of its hardware in General Diagnostics."""

from __future__ import annotations

import pytest

from evse_node.bridge.hardware_faults import HardwareFaultsBridge
from evse_node.cluster.servers.root.general_diagnostics import HardwareFault
from evse_node.state_machine.events import FaultCleared, FaultRaised
from evse_node.state_machine.faults import FaultState
from tests.support.charger.charger_host import ChargerHost
from tests.support.matter.root_node import RootNode

BASIC, BASIC_CLEAR, GROUND_FAULT, OVER_TEMPERATURE = 0x00, 0x01, 0x10, 0x11


class Rig:
    def __init__(self, host: ChargerHost | None = None) -> None:
        self.host = host or ChargerHost()
        self.root = RootNode()
        HardwareFaultsBridge(self.host.charger, self.root.diagnostics).start(self.host.now)

    @property
    def active(self) -> object:
        return self.root.read(self.root.diagnostics, "active_hardware_faults")

    def changes(self) -> list[object]:
        return [
            (fields["previous"], fields["current"])
            for name, fields, _ in self.root.events.take()
            if name == "HardwareFaultChange"
        ]


@pytest.mark.parametrize(
    ("fault", "reported"),
    [
        (FaultState.METER_FAILURE, HardwareFault.SENSOR),
        (FaultState.OVER_TEMPERATURE, HardwareFault.RESETTABLE_OVER_TEMP),
        (FaultState.POWER_LOSS, HardwareFault.POWER_SOURCE),
        (FaultState.CONTACT_WET_FAILURE, HardwareFault.UNSPECIFIED),
    ],
)
def test_hardware_fault_is_reported_and_cleared(fault: FaultState, reported: HardwareFault) -> None:
    rig = Rig()
    rig.host.backend.fault(fault.value)
    rig.host.run(1)
    assert rig.active == [reported]
    rig.host.backend.clear_fault()
    rig.host.run(1)
    assert rig.active == []
    assert rig.changes() == [([], [reported]), ([reported], [])]


def test_faults_of_one_kind_are_reported_once() -> None:
    rig = Rig()
    for fault in (FaultState.POWER_LOSS, FaultState.UNDER_VOLTAGE, FaultState.CONTACT_DRY_FAILURE):
        rig.host.charger.handle(FaultRaised(fault), rig.host.now)
    assert rig.active == [HardwareFault.UNSPECIFIED, HardwareFault.POWER_SOURCE]
    rig.host.charger.handle(FaultCleared(FaultState.POWER_LOSS), rig.host.now)
    assert rig.active == [HardwareFault.UNSPECIFIED, HardwareFault.POWER_SOURCE]


@pytest.mark.parametrize("fault", ["GroundFault", "OverCurrent", "EmergencyStop", "Other"])
def test_other_faults_are_not_hardware_faults(fault: str) -> None:
    rig = Rig()
    rig.host.backend.fault(fault)
    assert rig.host.charger.snapshot().fault is not FaultState.NO_ERROR
    assert (rig.active, rig.changes()) == ([], [])


def test_fault_that_survived_a_restart_is_reported() -> None:
    host = ChargerHost()
    host.charger.handle(FaultRaised(FaultState.CONTACT_WET_FAILURE), host.now)
    assert Rig(ChargerHost(store=host.store)).active == [HardwareFault.UNSPECIFIED]


class TestTestMode:
    def test_reports_nothing(self) -> None:
        rig = Rig()
        for code in (BASIC, GROUND_FAULT, OVER_TEMPERATURE, BASIC_CLEAR):
            rig.host.trigger(code)
        assert (rig.active, rig.changes()) == ([], [])

    def test_does_not_hide_a_real_fault(self) -> None:
        rig = Rig()
        rig.host.backend.fault("MeterFailure")
        rig.host.trigger(BASIC)
        assert rig.active == [HardwareFault.SENSOR]
        rig.host.trigger(BASIC_CLEAR)
        assert rig.active == [HardwareFault.SENSOR]
        assert len(rig.changes()) == 1

    def test_fault_that_ended_meanwhile_is_reported_afterwards(self) -> None:
        rig = Rig()
        rig.host.backend.fault("PowerLoss")
        rig.host.charger.enter_test_mode(rig.host.now)
        rig.host.backend.clear_fault()
        rig.host.charger.leave_test_mode(rig.host.now)
        assert rig.active == []
