"""A definition of revision 3, with the supply state Enabled and more event fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.bridge.evse import EVSE, evse_settings
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.revision import XML_FOLDER
from evse_node.cluster.definitions.zap import load_cluster_file, load_definitions
from tests.support.charger.charger_host import ChargerHost

ENABLED = 5
CHANGES = (
    ('code="0xFFFD" value="2"', 'code="0xFFFD" value="3"'),
    (
        '<item name="DisabledDiagnostics" value="0x04"/>',
        '<item name="DisabledDiagnostics" value="0x04"/><item name="Enabled" value="0x05"/>',
    ),
    (
        '<field id="2" name="MaximumCurrent" type="amperage_ma" min="0"/>',
        '<field id="2" name="MaximumCurrent" type="amperage_ma" min="0"/>'
        '<field id="3" name="MaximumDischargeCurrent" type="amperage_ma" optional="true"/>',
    ),
    (
        '<field id="4" name="EnergyTransferred" type="energy_mwh" min="0"/>',
        '<field id="4" name="EnergyTransferred" type="energy_mwh" min="0"/>'
        '<field id="5" name="EnergyDischarged" type="energy_mwh" optional="true"/>',
    ),
)


@pytest.fixture
def revision_3(tmp_path: Path) -> ClusterDefinition:
    shipped = XML_FOLDER / "1.3" / "energy_evse.xml"
    text = shipped.read_text()
    for old, new in CHANGES:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "energy_evse.xml"
    file.write_text(text)
    return load_cluster_file(file)[0]


def test_both_directions_enabled_have_their_supply_state(revision_3: ClusterDefinition) -> None:
    host = ChargerHost(definitions={**load_definitions(), EVSE: revision_3})
    assert evse_settings(revision_3).has_enabled_state
    host.invoke("EnableCharging", None, 6_000, 16_000)
    host.invoke("EnableDischarging", host.epoch_s + 10, 9_000)
    assert host.read("SupplyState") == ENABLED
    host.backend.plug_in()
    host.backend.demand()
    host.recorder.events.pop(0)
    _, started = host.next_event()
    assert (started["maximum_current"], started["maximum_discharge_current"]) == (16_000, 0)
    host.run(11)
    assert host.read("SupplyState") == 1
    host.backend.no_demand()
    _, stopped = host.next_event()
    assert stopped["energy_discharged"] == 0


def test_discharge_events_have_their_own_fields(revision_3: ClusterDefinition) -> None:
    host = ChargerHost(definitions={**load_definitions(), EVSE: revision_3})
    host.invoke("EnableDischarging", None, 9_000)
    host.backend.plug_in()
    host.backend.demand()
    host.recorder.events.pop(0)
    _, started = host.next_event()
    assert (started["maximum_current"], started["maximum_discharge_current"]) == (0, 9_000)
    host.run(3600)
    host.backend.unplug()
    _, stopped = host.next_event()
    assert stopped["energy_transferred"] == 0
    assert stopped["energy_discharged"] == pytest.approx(2_070_000, rel=1e-2)
