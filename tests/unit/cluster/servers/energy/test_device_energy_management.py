"""Device Energy Management along certification tests: power adjustment, start time, pause."""

from __future__ import annotations

import pytest

from evse_node.bridge.energy_management import MANAGEMENT
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.energy.device_energy_management import parse_features
from evse_node.errors import ConfigError
from evse_node.matter.interaction.status import Status
from tests.support.charger.energy_host import PFR_MAP, SFR_MAP, EnergyHost
from tests.support.matter.values import as_int

LOCAL, GRID = 0, 1
ONLINE, POWER_ADJUST_ACTIVE, PAUSED = 1, 3, 4
NORMAL_COMPLETION, USER_OPT_OUT, CANCELLED = 0, 3, 4
OPT_OUT_LOCAL, OPT_OUT_GRID, OPT_OUT_CLEAR = 2, 3, 4

both_maps = pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])


def adjust(host: EnergyHost, power: int, duration: int, cause: int) -> Status:
    return host.manage("PowerAdjustRequest", power=power, duration=duration, cause=cause)


# Features


@pytest.mark.parametrize(
    ("feature_map", "attributes", "commands", "events"),
    [
        (PFR_MAP, set(range(8)), set(range(8)), {0, 1, 2, 3}),
        (SFR_MAP, {0, 1, 2, 3, 4, 6, 7}, {2, 3, 4, 5, 6, 7}, {2, 3}),
        ("PA", {0, 1, 2, 3, 4, 5, 7}, {0, 1}, {0, 1}),
    ],
)
def test_features_select_elements(
    feature_map: str, attributes: set[int], commands: set[int], events: set[int]
) -> None:
    dem = EnergyHost(feature_map).dem
    assert {number for number in dem.attributes if number < 0xF000} == attributes
    assert set(dem.commands) == commands
    assert set(dem.events) == events
    assert dem.revision == 3


def test_features_parse_from_number_or_codes() -> None:
    definition = load_definitions()[MANAGEMENT]
    assert parse_features(definition, "0x7B") == {"PA", "PFR", "STA", "PAU", "FA", "CON"}
    assert parse_features(definition, " 124") == {"SFR", "STA", "PAU", "FA", "CON"}
    assert parse_features(definition, "pa, pfr") == {"PA", "PFR"}


@pytest.mark.parametrize("text", ["0x80", "7B", "0x7F", "0x0D", "0x08", "PREF", "0", ""])
def test_invalid_features_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_features(load_definitions()[MANAGEMENT], text)


@both_maps
def test_commands_work_inside_and_outside_a_timed_interaction(feature_map: str) -> None:
    dem = EnergyHost(feature_map).dem
    assert not any(entry.is_timed for entry in dem.commands.values())


# TC_DEM_2_1


@both_maps
def test_attributes_before_any_request(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    assert host.show("ESAType") == 0
    assert host.show("ESACanGenerate") is True
    assert host.esa_state == ONLINE
    least, most = as_int(host.show("AbsMinPower")), as_int(host.show("AbsMaxPower"))
    assert (least, most) == (-7_360_000, 7_360_000)
    if feature_map == PFR_MAP:
        assert host.show("PowerAdjustmentCapability") is None
    assert host.show("Forecast") is None
    assert host.opt_out == 0


# TC_DEM_2_2


def test_power_adjustment_sequence() -> None:
    host = EnergyHost(PFR_MAP)
    host.scenario(0x00)
    assert host.esa_state == ONLINE
    (option,), cause = host.capability
    least, most, shortest, longest = (as_int(option[tag]) for tag in range(4))
    assert (least, most, shortest, longest) == (5_000_000, 30_000_000, 10, 60)
    assert cause == 0
    assert host.opt_out == 0
    # 6
    assert adjust(host, most, shortest, LOCAL) == Status.SUCCESS
    host.expect("PowerAdjustStart")
    assert host.esa_state == POWER_ADJUST_ACTIVE
    assert host.capability == ([option], 1)
    # 7
    assert host.manage("CancelPowerAdjustRequest") == Status.SUCCESS
    host.expect("PowerAdjustEnd", cause=CANCELLED)
    assert host.capability == ([option], 0)
    assert host.esa_state == ONLINE
    # 8 to 12
    assert host.manage("CancelPowerAdjustRequest") == Status.INVALID_IN_STATE
    for power, duration in (
        (most + 1, shortest),
        (least, longest + 1),
        (least - 1, longest),
        (most, shortest - 1),
    ):
        assert adjust(host, power, duration, LOCAL) == Status.CONSTRAINT_ERROR
    assert host.is_quiet()
    # 13, 14
    assert adjust(host, least, shortest, LOCAL) == Status.SUCCESS
    host.expect("PowerAdjustStart")
    assert host.capability[1] == 1
    host.run(2)
    assert adjust(host, most, shortest, GRID) == Status.SUCCESS
    host.run(5)
    assert host.is_quiet()
    assert host.esa_state == POWER_ADJUST_ACTIVE
    assert host.capability[1] == 2
    # 15 to 17
    host.scenario(OPT_OUT_LOCAL)
    assert host.esa_state == POWER_ADJUST_ACTIVE
    assert host.opt_out == 1
    assert adjust(host, most, longest, LOCAL) == Status.CONSTRAINT_ERROR
    host.scenario(OPT_OUT_GRID)
    # 2 s at 5 kW, then 5 s at 30 kW
    host.expect("PowerAdjustEnd", cause=USER_OPT_OUT, duration=7, energy_use=44_444)
    assert host.esa_state == ONLINE
    assert host.opt_out == 3
    assert host.capability[1] == 0
    # 18 to 20
    host.scenario(OPT_OUT_CLEAR)
    assert host.esa_state == ONLINE
    assert host.opt_out == 0
    assert adjust(host, most, shortest, LOCAL) == Status.SUCCESS
    host.expect("PowerAdjustStart")
    host.run(9.9)
    assert host.is_quiet()
    host.run(0.2)
    host.expect("PowerAdjustEnd", cause=NORMAL_COMPLETION, duration=10, energy_use=83_333)
    assert host.esa_state == ONLINE
    assert host.capability[1] == 0
    # 21
    host.scenario(0x01)
    assert host.show("PowerAdjustmentCapability") is None
    assert host.is_quiet()


# TC_DEM_2_3


@both_maps
def test_start_time_adjustment_sequence(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x05)
    assert host.esa_state == ONLINE
    first = host.read_forecast()
    assert first.earliest is not None
    assert first.earliest <= first.start
    assert first.latest >= first.end
    assert first.reason == 0
    assert host.opt_out == 0

    def start_at(time: int, cause: int) -> Status:
        return host.manage("StartTimeAdjustRequest", requested_start_time=time, cause=cause)

    # 5, 6
    host.scenario(OPT_OUT_LOCAL)
    assert (host.esa_state, host.opt_out) == (ONLINE, 1)
    host.run(3)
    assert start_at(first.earliest, LOCAL) == Status.CONSTRAINT_ERROR
    assert host.read_forecast() == first
    # 7, 8
    host.scenario(OPT_OUT_CLEAR)
    assert (host.esa_state, host.opt_out) == (ONLINE, 0)
    assert start_at(first.earliest, LOCAL) == Status.SUCCESS
    third = host.read_forecast()
    assert third.earliest == third.start
    assert third.end - third.start == first.end - first.start
    assert third.latest >= third.end
    assert third.reason == 1
    assert third.id > first.id
    # 9
    host.scenario(OPT_OUT_LOCAL)
    assert host.opt_out == 1
    fourth = host.read_forecast()
    assert (fourth.start, fourth.end, fourth.reason) == (first.start, first.end, 0)
    # 10
    assert start_at(fourth.start + fourth.latest - fourth.end, GRID) == Status.SUCCESS
    fifth = host.read_forecast()
    assert fifth.latest == fifth.end
    assert fifth.reason == 2
    # 11
    assert host.manage("CancelRequest") == Status.SUCCESS
    sixth = host.read_forecast()
    assert (sixth.start, sixth.end, sixth.reason) == (first.start, first.end, 0)
    # 12, 13
    assert sixth.earliest is not None
    assert start_at(sixth.earliest - 1, GRID) == Status.CONSTRAINT_ERROR
    assert start_at(sixth.start + sixth.latest - sixth.end + 1, GRID) == Status.CONSTRAINT_ERROR
    assert host.read_forecast() == sixth
    # 14, 15
    assert host.manage("CancelRequest") == Status.INVALID_IN_STATE
    assert host.esa_state == ONLINE
    host.scenario(0x06)
    assert host.show("Forecast") is None
    assert host.opt_out == 0
    assert host.manage("CancelRequest") == Status.FAILURE
    assert start_at(first.start, GRID) == Status.FAILURE


# TC_DEM_2_4


@both_maps
def test_pause_sequence(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x07)
    assert host.esa_state == ONLINE
    first = host.read_forecast()
    shortest, longest = as_int(first.slots[0][6]), as_int(first.slots[0][7])
    assert first.is_pausable
    assert (shortest, longest) == (10, 60)
    assert [slot[5] for slot in first.slots] == [True, False]
    assert (first.active, first.reason, host.opt_out) == (0, 0, 0)

    def pause(duration: int, cause: int) -> Status:
        return host.manage("PauseRequest", duration=duration, cause=cause)

    # 6 to 9
    assert pause(shortest - 1, LOCAL) == Status.CONSTRAINT_ERROR
    assert pause(longest + 1, LOCAL) == Status.CONSTRAINT_ERROR
    host.scenario(OPT_OUT_GRID)
    assert (host.esa_state, host.opt_out) == (ONLINE, 2)
    assert pause(shortest, GRID) == Status.CONSTRAINT_ERROR
    assert host.esa_state == ONLINE
    # 10, 11
    assert pause(shortest, LOCAL) == Status.SUCCESS
    host.expect("Paused")
    assert host.esa_state == PAUSED
    host.scenario(OPT_OUT_LOCAL)
    host.expect("Resumed", cause=USER_OPT_OUT)
    assert (host.esa_state, host.opt_out) == (ONLINE, 3)
    assert host.read_forecast().reason == 0
    # 12, 13
    host.scenario(OPT_OUT_CLEAR)
    assert (host.esa_state, host.opt_out) == (ONLINE, 0)
    assert pause(shortest, LOCAL) == Status.SUCCESS
    host.expect("Paused")
    assert host.esa_state == PAUSED
    paused = host.read_forecast()
    assert (paused.reason, paused.end) == (1, first.end + shortest)
    # 14 to 16
    host.run(4)
    for _ in range(2):
        assert host.manage("ResumeRequest") == Status.SUCCESS
        host.expect("Resumed", cause=CANCELLED)
        assert host.esa_state == ONLINE
        assert (host.read_forecast().reason, host.read_forecast().end) == (0, first.end + 4)
        assert pause(shortest, LOCAL) == Status.SUCCESS
        host.expect("Paused")
        assert host.read_forecast().reason == 1
    # 17, 18
    host.run(9.9)
    assert host.esa_state == PAUSED
    host.run(0.2)
    host.expect("Resumed", cause=NORMAL_COMPLETION)
    assert host.esa_state == ONLINE
    assert host.read_forecast().reason == 0
    # 19 to 21
    host.scenario(0x08)
    assert host.esa_state == ONLINE
    assert host.read_forecast().active == 1
    assert pause(shortest, LOCAL) == Status.FAILURE
    assert host.esa_state == ONLINE
    assert host.manage("ResumeRequest") == Status.INVALID_IN_STATE
    host.scenario(OPT_OUT_CLEAR)
    assert host.is_quiet()


@both_maps
def test_second_pause_moves_end_without_event(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x07)
    end = host.read_forecast().end
    assert host.manage("PauseRequest", duration=20, cause=LOCAL) == Status.SUCCESS
    host.expect("Paused")
    host.run(15)
    assert host.manage("PauseRequest", duration=46, cause=GRID) == Status.CONSTRAINT_ERROR
    assert host.manage("PauseRequest", duration=30, cause=GRID) == Status.SUCCESS
    assert host.is_quiet()
    assert (host.read_forecast().end, host.read_forecast().reason) == (end + 45, 2)
    host.run(29)
    assert host.esa_state == PAUSED
    host.run(2)
    host.expect("Resumed", cause=NORMAL_COMPLETION)
    assert host.read_forecast().end == end + 45


def test_power_adjustment_excludes_pause() -> None:
    host = EnergyHost(PFR_MAP)
    host.scenario(0x00)
    host.scenario(0x07)
    assert adjust(host, 5_000_000, 10, LOCAL) == Status.SUCCESS
    assert host.manage("PauseRequest", duration=10, cause=LOCAL) == Status.INVALID_IN_STATE
    assert host.manage("CancelPowerAdjustRequest") == Status.SUCCESS
    assert host.manage("PauseRequest", duration=10, cause=LOCAL) == Status.SUCCESS
    assert adjust(host, 5_000_000, 10, LOCAL) == Status.INVALID_IN_STATE
    assert host.esa_state == PAUSED
    # Cancelling the request also ends the pause.
    assert host.manage("CancelRequest") == Status.SUCCESS
    assert [name for name, _ in host.queue.events] == [
        "PowerAdjustStart",
        "PowerAdjustEnd",
        "Paused",
        "Resumed",
    ]
    assert (host.esa_state, host.read_forecast().reason) == (ONLINE, 0)


@both_maps
def test_new_script_ends_pause_and_opt_out(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x07)
    host.scenario(OPT_OUT_GRID)
    assert host.manage("PauseRequest", duration=10, cause=LOCAL) == Status.SUCCESS
    host.expect("Paused")
    host.scenario(0x0F)
    host.expect("Resumed", cause=CANCELLED)
    assert (host.esa_state, host.opt_out, host.read_forecast().reason) == (ONLINE, 0, 0)


def test_unknown_cause_is_refused() -> None:
    host = EnergyHost(PFR_MAP)
    host.scenario(0x00)
    assert adjust(host, 5_000_000, 10, 2) == Status.CONSTRAINT_ERROR
    assert host.is_quiet()


def test_script_without_clock_has_no_forecast() -> None:
    host = EnergyHost(PFR_MAP, has_clock=False)
    for code in (0x05, 0x07, 0x0A, 0x0D, 0x0F, 0x08, 0x0B, 0x06):
        host.scenario(code)
        assert host.show("Forecast") is None
    host.scenario(0x00)
    assert adjust(host, 5_000_000, 10, LOCAL) == Status.SUCCESS


# After a test that was aborted

_LEFT_BEHIND = {
    "a capability": (0x00,),
    "opt-outs": (OPT_OUT_LOCAL, OPT_OUT_GRID),
    "opt-outs during a test": (0x00, OPT_OUT_LOCAL, OPT_OUT_GRID),
    "a forecast": (0x0F,),
    "a forecast at its second slot": (0x0A, 0x0B),
    "all at once": (0x00, 0x07, 0x0D, 0x05, OPT_OUT_GRID),
}


@pytest.mark.parametrize("first", [0x00, 0x05, 0x07, 0x0A, 0x0D, 0x0F])
@pytest.mark.parametrize("running", [None, "adjust", "pause", "start"])
@pytest.mark.parametrize("left", _LEFT_BEHIND.values(), ids=_LEFT_BEHIND)
def test_next_script_resets_state_of_previous(
    left: tuple[int, ...], running: str | None, first: int
) -> None:
    host = EnergyHost(PFR_MAP, dem_mode=0)  # in which the user opts out
    for code in left:
        host.scenario(code)
    match running:
        case "adjust":
            adjust(host, 5_000_000, 60, LOCAL)
        case "pause":
            host.manage("PauseRequest", duration=20, cause=LOCAL)
        case "start":
            start = host.epoch_s + 300
            host.manage("StartTimeAdjustRequest", requested_start_time=start, cause=LOCAL)
    host.run(5)
    host.scenario(first)
    assert (host.esa_state, host.opt_out) == (ONLINE, 0)
    if first == 0x00:
        listed, cause = host.capability
        assert (len(listed), cause) == (1, 0)
        assert adjust(host, 5_000_000, 10, GRID) == Status.SUCCESS
    else:
        assert host.read_forecast().reason == 0
        assert host.read_forecast().active == 0


@pytest.mark.parametrize("left", _LEFT_BEHIND.values(), ids=_LEFT_BEHIND)
def test_clearing_script_restores_charger_state(left: tuple[int, ...]) -> None:
    host = EnergyHost(PFR_MAP, dem_mode=0)
    for code in left:
        host.scenario(code)
    # The triggers at the end of each test.
    for code in (0x01, 0x06, 0x09, 0x0C, 0x0E, 0x10):
        host.scenario(code)
    assert host.show("Forecast") is None
    assert host.show("PowerAdjustmentCapability") is None
    assert host.show("AbsMaxPower") == 7_360_000
    assert host.opt_out == 3
