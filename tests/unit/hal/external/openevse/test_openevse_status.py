"""Status of an OpenEVSE controller: faults, measured values, restarts."""

from __future__ import annotations

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.openevse import link as openevse
from evse_node.hal.external.openevse.link import OpenEvseSettings
from evse_node.hal.external.openevse.state import parse_state
from evse_node.hal.interface import Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Millivolts
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import (
    DIODE,
    GFCI,
    GFCI_TEST,
    HOT,
    NO_GROUND,
    OVER_CURRENT,
    SLEEPING,
    STUCK,
    C,
)
from tests.unit.hal.external.openevse.openevse_helpers import OFFER, charge, events_of


class TestFaults:
    @pytest.mark.parametrize(
        ("code", "fault"),
        [
            (DIODE, FaultState.OTHER),
            (GFCI, FaultState.GROUND_FAULT),
            (NO_GROUND, FaultState.GROUND_FAULT),
            (STUCK, FaultState.CONTACT_WET_FAILURE),
            (GFCI_TEST, FaultState.OTHER),
            (HOT, FaultState.OVER_TEMPERATURE),
            (OVER_CURRENT, FaultState.OVER_CURRENT),
            (0x0C, FaultState.OTHER),
            (0x0D, FaultState.OTHER),
            (0x0E, FaultState.CONTACT_DRY_FAILURE),
        ],
    )
    async def test_each_state_becomes_its_fault(
        self, bench: OpenEvseBench, code: int, fault: FaultState
    ) -> None:
        charge(bench)
        bench.model.fault = code
        bench.wait(1)
        assert events_of(bench, FaultRaised, ContactorReported, PilotChanged) == [
            FaultRaised(fault),
            PilotChanged(PilotState.B),
            ContactorReported(False),
        ]
        # The machine's orders must not hide the fault.
        bench.backend.signal_unavailable()
        bench.wait(1)
        bench.backend.withdraw()
        bench.backend.contactor.open()
        bench.wait(60)
        assert events_of(bench, FaultRaised, FaultCleared) == [FaultRaised(fault)]
        with pytest.raises(HalError, match=fault.value):
            bench.backend.contactor.close()
        bench.model.fault = 0
        bench.wait(1)
        assert events_of(bench, FaultRaised, FaultCleared) == [
            FaultRaised(fault),
            FaultCleared(fault),
        ]
        assert bench.model.state == SLEEPING

    async def test_hard_fault_under_another_state_is_reported(self) -> None:
        state = parse_state(("fe", "0", "03", "0102"))
        assert state.faults == {FaultState.OTHER}

    async def test_unknown_state_becomes_pilot_short_circuit(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.wait(1)
        bench.model.state = 0
        bench.model.car = 0
        bench.events.clear()
        bench.wait(2)
        assert events_of(bench, PilotChanged) == []
        bench.wait(2)
        assert events_of(bench, PilotChanged) == [PilotChanged(PilotState.E)]

    @pytest.mark.parametrize(
        "words", [(), ("03",), ("3", "20"), ("zz", "0", "03", "0140"), ("10", "0", "03", "0140")]
    )
    async def test_invalid_states_raise(self, words: tuple[str, ...]) -> None:
        with pytest.raises(HalError):
            parse_state(words)


class TestMeasuredValues:
    async def test_power_and_energy_of_one_phase(self, bench: OpenEvseBench) -> None:
        charge(bench)
        assert bench.backend.meter is not None
        before = bench.backend.meter.read()
        bench.wait(360)
        after = bench.backend.meter.read()
        assert after.power_mw == 16 * 230 * 1_000
        assert after.voltages_mv == (230_000,)
        assert after.currents_ma == (16_000,)
        assert abs(after.imported_mwh - before.imported_mwh - 368_000) < 2_000
        assert after.exported_mwh == 0

    async def test_total_counts_over_sessions(self, bench: OpenEvseBench) -> None:
        assert bench.backend.meter is not None
        last = 0
        for _ in range(3):
            bench.plug_in()
            bench.backend.offer(OFFER)
            bench.backend.contactor.close()
            bench.demand()
            for _ in range(20):
                bench.wait(3)
                shown = bench.backend.meter.read().imported_mwh
                assert shown >= last
                last = shown
            bench.backend.withdraw()
            bench.unplug()
            assert bench.backend.meter.read().imported_mwh >= last
        assert abs(last - 1_000_000 - 3 * 61_333) < 6_000

    async def test_three_phases_count_the_measured_one_three_times(self) -> None:
        ratings = Ratings(phases=3, nominal_voltage_mv=Millivolts(231_000))
        bench = OpenEvseBench(OpenEvseSettings(ratings=ratings))
        await bench.start()
        charge(bench)
        bench.wait(1)
        assert bench.backend.meter is not None
        values = bench.backend.meter.read()
        assert values.voltages_mv == (231_000,) * 3
        assert values.power_mw == 3 * 16 * 231_000

    async def test_temperature_is_that_of_warmest_thermometer(self, bench: OpenEvseBench) -> None:
        bench.model.tenths_c = [-2560, 612, 340]
        bench.wait(10)
        assert bench.backend.read_millicelsius() == 61_200

    async def test_vanished_thermometers_raise(self, bench: OpenEvseBench) -> None:
        bench.model.tenths_c = [-2560] * 3
        bench.wait(10)
        with pytest.raises(HalError, match="no temperature"):
            bench.backend.read_millicelsius()


class TestRestart:
    async def test_during_session_needs_new_order_to_close(self, bench: OpenEvseBench) -> None:
        charge(bench)
        assert bench.backend.meter is not None
        bench.wait(60)
        counted = bench.backend.meter.read().imported_mwh
        bench.model.restart()
        bench.wait(2)
        # The offer enables it, so it closes, but without an order to close.
        assert not bench.is_powered()
        assert events_of(bench, ContactorReported) == [ContactorReported(False)]
        assert bench.model.amperes == 16
        assert bench.model.heartbeat == [20, 6]
        assert bench.model.millivolts == 230_000
        assert bench.backend.meter.read().imported_mwh >= counted
        bench.backend.contactor.close()
        bench.wait(2)
        assert bench.is_powered()
        assert events_of(bench, ContactorReported)[-1] == ContactorReported(True)

    async def test_never_charges_above_ordered_current(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.restart()
        highest = 0
        for _ in range(200):
            bench.wait(0.01)
            if bench.is_powered():
                highest = max(highest, bench.model.amperes)
        assert highest <= 16

    async def test_during_set_up_repeats_it(self, bench: OpenEvseBench) -> None:
        bench.model.restart()
        carry_out = bench.model._carry_out

        def restart_once(name: str, words: list[str]) -> tuple[bool, str | None]:
            if name == "SB":
                bench.model._carry_out = carry_out  # type: ignore[method-assign]
                bench.model.restart()
            return carry_out(name, words)

        bench.model._carry_out = restart_once  # type: ignore[method-assign]
        bench.wait(2)
        assert bench.model.restarts == 2
        assert bench.model.millivolts == 230_000
        assert bench.model.state == SLEEPING

    async def test_self_test_restarts_and_completes(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.backend.start_self_test()
        bench.wait(1)
        assert bench.model.restarts == 1
        assert events_of(bench, SelfTestCompleted) == [SelfTestCompleted()]
        assert not bench.is_powered()
        assert bench.model.state == SLEEPING

    async def test_self_test_opens_first(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.backend.start_self_test()
        bench.wait(1)
        assert bench.model.log.index("FD") < bench.model.log.index("FR")
        assert events_of(bench, SelfTestCompleted) == [SelfTestCompleted()]

    async def test_self_test_reports_faults_before_completion(self, bench: OpenEvseBench) -> None:
        bench.model.fault = GFCI_TEST
        bench.backend.start_self_test()
        bench.wait(1)
        kinds = events_of(bench, FaultRaised, SelfTestCompleted)
        assert kinds == [FaultRaised(FaultState.OTHER), SelfTestCompleted()]

    @pytest.mark.parametrize("is_lost", ["the order", "the word of it"])
    async def test_self_test_without_notification_fails(
        self, bench: OpenEvseBench, monkeypatch: pytest.MonkeyPatch, is_lost: str
    ) -> None:
        monkeypatch.setattr(openevse, "_DEAF_S", 0.02)
        bench.plug_in()
        bench.runs_polls = False
        carry_out = bench.model._carry_out

        def deaf(name: str, words: list[str]) -> tuple[bool, str | None]:
            return (True, None) if name == "FR" else carry_out(name, words)

        if is_lost == "the order":
            bench.model._carry_out = deaf  # type: ignore[method-assign]
        else:
            bench.port.spoil = lambda data: b"" if b"$AB" in data else data
        bench.backend.start_self_test()
        bench.model.car = C
        for _ in range(10):
            await bench.backend.poll()
            bench.now += 0.1
        last = events_of(bench, FaultRaised, SelfTestCompleted)[-2:]
        assert last == [FaultRaised(FaultState.OTHER), SelfTestCompleted()]
        # It does not stay enabled with its own current, as it started.
        assert bench.model.state == SLEEPING
        assert not bench.is_powered()
        assert bench.model.millivolts == 230_000
