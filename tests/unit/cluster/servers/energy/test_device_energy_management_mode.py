"""Device Energy Management Mode, and the effect of a mode on energy management."""

from __future__ import annotations

import pytest

from evse_node.matter.data_model import CommandReply
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue, decode_element
from evse_node.testing.memory_store import MemoryStore
from tests.support.charger.energy_host import EnergyHost

NO_OPTIMIZATION = 0x4000


def show(host: EnergyHost, attribute: str) -> TlvValue:
    number = host.dem_mode.definition.attribute(attribute).id
    encoded = host.dem_mode.attributes[number].encoded
    assert encoded is not None
    return decode_element(encoded, 0)[1]


def modes(host: EnergyHost) -> dict[object, tuple[object, list[object]]]:
    """Return label and tags by mode, decoded from SupportedModes."""
    listed = show(host, "SupportedModes")
    assert isinstance(listed, list)
    found: dict[object, tuple[object, list[object]]] = {}
    for mode in listed:
        assert isinstance(mode, dict)
        tags = mode[2]
        assert isinstance(tags, list)
        found[mode[1]] = (mode[0], [tag[1] for tag in tags if isinstance(tag, dict)])
    return found


# TC_DEMM_1_2


def test_supported_modes_have_labels_and_tags() -> None:
    host = EnergyHost()
    found = modes(host)
    assert sorted(found) == [0, 1, 2, 3, 4]  # type: ignore[type-var]
    assert len({label for label, _ in found.values()}) == 5
    for _, tags in found.values():
        assert tags
        assert all(tag in (0x4000, 0x4001, 0x4002, 0x4003) for tag in tags)
        assert NO_OPTIMIZATION not in tags or len(tags) == 1
    assert any(NO_OPTIMIZATION in tags for _, tags in found.values())
    assert show(host, "CurrentMode") in found


def reply(host: EnergyHost, mode: int) -> TlvValue:
    command = host.dem_mode.definition.command("ChangeToMode")
    answer = host.dem_mode.invoke(command.id, {0: mode}, host.context)
    assert isinstance(answer, CommandReply)
    return decode_element(answer.payload, 0)[1]


def test_selected_mode_survives_restart() -> None:
    store = MemoryStore()
    host = EnergyHost(store=store)
    assert show(host, "CurrentMode") == 4
    assert reply(host, 2) == {0: 0, 1: ""}
    assert show(host, "CurrentMode") == 2
    assert reply(host, 9) == {0: 1, 1: "no mode 9"}
    again = EnergyHost(store=store)
    assert show(again, "CurrentMode") == 2
    assert again.opt_out == 2


@pytest.mark.parametrize(("mode", "opt_out"), [(0, 3), (1, 3), (2, 2), (3, 1), (4, 0)])
def test_mode_opts_out_of_causes_without_tag(mode: int, opt_out: int) -> None:
    host = EnergyHost(dem_mode=mode)
    assert host.opt_out == opt_out
    # A test overrides the opt-outs of the mode and restores them at its end.
    host.scenario(0x07)
    assert host.opt_out == 0
    host.scenario(0x09)
    assert host.opt_out == opt_out


def test_mode_change_ends_forbidden_adjustment() -> None:
    host = EnergyHost()
    host.scenario(0x07)
    assert host.manage("PauseRequest", duration=10, cause=1) == Status.SUCCESS
    host.expect("Paused")
    reply(host, 3)
    assert host.is_quiet()
    reply(host, 2)
    host.expect("Resumed", cause=3)
