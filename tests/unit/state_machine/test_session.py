from evse_node.state_machine.session import MeterReading, next_session


def test_ids_count_up_and_wrap() -> None:
    first = next_session(None, MeterReading(), 0.0)
    assert first.id == 0
    second = next_session(first, MeterReading(), 0.0)
    assert second.id == 1
    last = next_session(None, MeterReading(), 0.0)
    object.__setattr__(last, "id", 0xFFFF_FFFF)
    assert next_session(last, MeterReading(), 0.0).id == 0


def test_values_grow_and_then_stay() -> None:
    session = next_session(None, MeterReading(1_000, 50), 10.0)
    assert session.duration_s(12.9) == 2
    assert session.energy_charged_mwh(MeterReading(4_000, 50)) == 3_000
    ended = session.ended(MeterReading(5_000, 80), 20.5)
    later = MeterReading(9_000, 900)
    assert ended.duration_s(100.0) == 10
    assert ended.energy_charged_mwh(later) == 4_000
    assert ended.energy_discharged_mwh(later) == 30


def test_a_meter_that_starts_over_gives_no_energy() -> None:
    session = next_session(None, MeterReading(1_000, 1_000), 0.0)
    assert session.energy_charged_mwh(MeterReading(10, 10)) == 0
    assert session.energy_discharged_mwh(MeterReading(10, 10)) == 0
