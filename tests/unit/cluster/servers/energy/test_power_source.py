"""Power Source: a wired source of alternating current."""

from __future__ import annotations

from evse_node.cluster.servers.energy.power_source import Mains, PowerSource, WiredFault
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.cluster_host import ENDPOINT, ClusterHost


def make(
    description: str = "Mains", endpoints: tuple[int, ...] = ()
) -> tuple[ClusterHost, PowerSource]:
    host = ClusterHost(store=MemoryStore())
    source = PowerSource(
        host.definition("Power Source"), Mains(230_000, 32_000, description), endpoints=endpoints
    )
    host.attach(source)
    return host, source


def test_attributes_describe_mains() -> None:
    host, source = make()
    assert {
        name: host.read(source, name)
        for name in (
            "status",
            "order",
            "description",
            "wired_current_type",
            "wired_nominal_voltage",
            "wired_maximum_current",
            "wired_present",
            "wired_assessed_input_voltage",
            "wired_assessed_current",
            "wired_assessed_input_frequency",
            "active_wired_faults",
            "feature_map",
        )
    } == {
        "status": 1,
        "order": 0,
        "description": "Mains",
        "wired_current_type": 0,
        "wired_nominal_voltage": 230_000,
        "wired_maximum_current": 32_000,
        "wired_present": True,
        "wired_assessed_input_voltage": None,
        "wired_assessed_current": None,
        "wired_assessed_input_frequency": None,
        "active_wired_faults": [],
        "feature_map": 1,
    }


def test_endpoint_list_has_own_endpoint_once() -> None:
    host, source = make()
    assert host.read(source, "endpoint_list") == [ENDPOINT]
    host, source = make(endpoints=(0, ENDPOINT))
    assert host.read(source, "endpoint_list") == [0, ENDPOINT]


def test_long_description_is_cut_between_characters() -> None:
    host, source = make("ä" * 40)
    assert host.read(source, "description") == "ä" * 30
    host, source = make("a" + "ä" * 40)
    assert host.read(source, "description") == "a" + "ä" * 29


def test_assessment_is_readable_but_not_reported() -> None:
    host, source = make()
    source.assess(voltage_mv=231_500, current_ma=15_900, frequency_hz=50)
    assert host.read(source, "wired_assessed_input_voltage") == 231_500
    assert host.read(source, "wired_assessed_current") == 15_900
    assert host.read(source, "wired_assessed_input_frequency") == 50
    source.assess(voltage_mv=None, current_ma=None)
    assert host.read(source, "wired_assessed_input_frequency") is None
    assert [name for name in host.take_reports() if "assessed" in name] == []


def test_changed_faults_are_reported_and_emit_event() -> None:
    host, source = make()
    host.take_reports()
    source.set_faults([])
    assert host.take_events() == []
    source.set_faults([WiredFault.UNDER_VOLTAGE, WiredFault.UNDER_VOLTAGE])
    assert host.take_reports() == ["active_wired_faults"]
    source.set_faults([WiredFault.UNDER_VOLTAGE])
    source.set_faults([WiredFault.UNDER_VOLTAGE, WiredFault.OVER_VOLTAGE])
    source.set_faults([])
    assert host.take_events() == [
        ("WiredFaultChange", {"current": [2], "previous": []}),
        ("WiredFaultChange", {"current": [1, 2], "previous": [2]}),
        ("WiredFaultChange", {"current": [], "previous": [1, 2]}),
    ]
    assert host.read(source, "active_wired_faults") == []
