from msgspec.structs import force_setattr

from evse_node.state_machine import events as e
from evse_node.state_machine.effects import EnergyTransferStopped
from evse_node.state_machine.enums import State
from evse_node.state_machine.session import MeterReading, next_session
from tests.unit.state_machine.machine import B, Machine, machine_in, meter


def test_session_ids_count_up_and_wrap() -> None:
    first = next_session(None, MeterReading(), 0.0)
    assert first.id == 0
    second = next_session(first, MeterReading(), 0.0)
    assert second.id == 1
    last = next_session(None, MeterReading(), 0.0)
    force_setattr(last, "id", 0xFFFF_FFFF)
    assert next_session(last, MeterReading(), 0.0).id == 0


def test_session_values_grow_until_end() -> None:
    session = next_session(None, meter(1_000, 50), 10.0)
    assert session.duration_s(12.9) == 2
    assert session.energy_charged_mwh(meter(4_000, 50)) == 3_000
    ended = session.ended(meter(5_000, 80), 20.5)
    later = meter(9_000, 900)
    assert ended.duration_s(100.0) == 10
    assert ended.energy_charged_mwh(later) == 4_000
    assert ended.energy_discharged_mwh(later) == 30


class TestCounterReset:
    """The session's energy is kept over a reset of the meter's totals."""

    def charging(self) -> Machine:
        machine = Machine()
        machine.put(e.MeterRead(meter(1_000, 1_000)))
        machine.charge()
        machine.put(e.MeterRead(meter(5_000, 1_000)))
        return machine

    def energy(self, machine: Machine) -> int:
        session = machine.state.session
        assert session is not None
        return session.energy_charged_mwh(machine.state.meter)

    def test_meter_reset_keeps_energy(self) -> None:
        machine = self.charging()
        machine.put(e.MeterRead(meter(10, 1_000)))
        assert self.energy(machine) == 4_000
        machine.put(e.MeterRead(meter(510, 1_000)))
        assert self.energy(machine) == 4_500
        machine.put(B)
        [stopped] = machine.find(EnergyTransferStopped)
        assert stopped.energy_charged_mwh == 4_500
        assert stopped.energy_discharged_mwh == 0

    def test_replaced_meter_keeps_energy(self) -> None:
        machine = self.charging()
        machine.put(e.MeterRead(meter(70_000_000, 0), is_counter_reset=True))
        assert self.energy(machine) == 4_000

    def test_meter_reset_keeps_discharged_energy(self) -> None:
        machine = machine_in(State.PLUGGED_IN_DISCHARGING)
        machine.put(e.MeterRead(meter(1_000, 4_000)))
        machine.put(e.MeterRead(meter(1_000, 10)))
        session = machine.state.session
        assert session is not None
        assert session.energy_discharged_mwh(machine.state.meter) == 4_000
        machine.put(e.MeterRead(meter(1_000, 510)), B)
        [stopped] = machine.find(EnergyTransferStopped)
        assert stopped.energy_discharged_mwh == 4_500

    def test_meter_reset_without_session_changes_nothing(self) -> None:
        machine = Machine()
        machine.put(e.MeterRead(meter(1_000, 0)), e.MeterRead(meter(10, 0)))
        machine.charge()
        assert self.energy(machine) == 0
