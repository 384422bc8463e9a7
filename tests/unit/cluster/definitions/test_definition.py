from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from evse_node.cluster.definitions.conformance import (
    AndTerm,
    Choice,
    Conformance,
    ElementTerm,
    FeatureTerm,
    NotTerm,
    OrTerm,
    Presence,
    Rule,
)
from evse_node.cluster.definitions.conformance_xml import parse_conformance
from evse_node.cluster.definitions.definition import (
    ClusterDefinition,
    Selection,
    snake_case,
)
from evse_node.cluster.definitions.xml_file import parse_xml
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.errors import ConfigError
from evse_node.matter.data_model import Privilege

NAMES = [
    ("NextChargeTargetSoC", "next_charge_target_soc"),
    ("SoCReporting", "soc_reporting"),
    ("ESAState", "esa_state"),
    ("ApproximateEVEfficiency", "approximate_ev_efficiency"),
    ("NOCs", "nocs"),
    ("NOCSRElements", "nocsr_elements"),
    ("GroupKeySetIDs", "group_key_set_ids"),
    ("ICACValue", "icac_value"),
    ("VendorID", "vendor_id"),
    ("SupportedWiFiBands", "supported_wi_fi_bands"),
    ("UTCTime", "utc_time"),
    ("PHYRate", "phy_rate"),
    ("IPv4Addresses", "ipv4_addresses"),
    ("OffPremiseServicesReachableIPv6", "off_premise_services_reachable_ipv6"),
    ("IPV6Failed", "ipv6_failed"),
    ("IsForUpdateNOC", "is_for_update_noc"),
    ("EpochKey0", "epoch_key0"),
    ("EVSEStopped", "evse_stopped"),
    ("ACL", "acl"),
    ("V2X", "v2x"),
    ("Rate10M", "rate10m"),
    ("Rate2_5G", "rate2_5g"),
    ("12hr", "12hr"),
    ("2G4", "2g4"),
    ("WPA3-Matter-PDC", "wpa3_matter_pdc"),
    ("Proxy View", "proxy_view"),
    ("Energy EVSE Mode", "energy_evse_mode"),
    ("current", "current"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_snake_case_splits_names_into_words(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_shipped_attribute_names_have_distinct_keys() -> None:
    for cluster in load_definitions().values():
        keys = [attribute.key for attribute in cluster.attributes.values()]
        assert len(set(keys)) == len(keys)
        assert all(key.isidentifier() for key in keys), cluster.name


A, B, C = FeatureTerm("A"), FeatureTerm("B"), FeatureTerm("C")

CONFORMANCE = [
    ("M", {frozenset(): "M", frozenset("A"): "M"}),
    ("O", {frozenset(): "O"}),
    ("A", {frozenset(): "X", frozenset("A"): "M", frozenset("B"): "X"}),
    ("[A]", {frozenset(): "X", frozenset("A"): "O"}),
    ("!A", {frozenset(): "M", frozenset("A"): "X"}),
    ("A & B", {frozenset("A"): "X", frozenset("AB"): "M"}),
    ("A | B", {frozenset("A"): "M", frozenset("B"): "M", frozenset("C"): "X"}),
    (r"A \| B", {frozenset("A"): "M", frozenset("B"): "M", frozenset("C"): "X"}),
    ("(A | B) & !C", {frozenset("A"): "M", frozenset("AC"): "X", frozenset("C"): "X"}),
    ("A | B & C", {frozenset("A"): "M", frozenset("B"): "X", frozenset("BC"): "M"}),
    ("A, O", {frozenset(): "O", frozenset("A"): "M"}),
    ("A, [B]", {frozenset(): "X", frozenset("A"): "M", frozenset("B"): "O", frozenset("AB"): "M"}),
    ("A | [B]", {frozenset(): "X", frozenset("A"): "M", frozenset("B"): "O"}),
    ("P, O", {frozenset(): "P"}),
    ("D", {frozenset(): "X"}),
]
LETTERS = {
    Presence.MANDATORY: "M",
    Presence.OPTIONAL: "O",
    Presence.PROVISIONAL: "P",
    Presence.DISALLOWED: "X",
}
PLACE = parse_xml(b"<attribute/>", Path("test.xml"))


@pytest.mark.parametrize(("text", "cases"), CONFORMANCE)
def test_conformance_notation_evaluates_and_prints(
    text: str, cases: dict[frozenset[str], str]
) -> None:
    conformance = parse_conformance(text, frozenset("ABC"), PLACE)
    for features, expected in cases.items():
        assert LETTERS[conformance.evaluate(features)] == expected, features
    # str() and parse_conformance() are inverse.
    if text != "D":
        assert parse_conformance(str(conformance), frozenset("ABC"), PLACE) == conformance


@pytest.mark.parametrize("text", ["", "A &", "[A", "A]", "(A", "A B", "&", "A, ", "Z", "A + B"])
def test_invalid_conformance_notation_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.xml:1: conformance"):
        parse_conformance(text, frozenset("ABC"), PLACE)


def test_conformance_depends_on_present_elements_and_choice() -> None:
    rule = Rule(Presence.OPTIONAL, None, Choice("a", is_more=True))
    conformance = Conformance((Rule(Presence.MANDATORY, ElementTerm("Ranges")), rule))
    assert conformance.evaluate(frozenset(), frozenset({"Ranges"})) is Presence.MANDATORY
    assert conformance.choice(frozenset(), frozenset({"Ranges"})) is None
    assert conformance.choice(frozenset()) == Choice("a", is_more=True)
    assert str(conformance) == "Ranges, O.a+"
    nested = Conformance(
        (Rule(Presence.MANDATORY, AndTerm((OrTerm((A, B)), NotTerm(OrTerm((C, A)))))),)
    )
    assert str(nested) == "(A | B) & !(C | A)"


@pytest.fixture(scope="module")
def evse() -> ClusterDefinition:
    return load_definitions()["Energy EVSE"]


def ids(selection: Selection) -> str:
    """Return the ids as in the specification's test plans, without global attributes."""
    return " | ".join(
        " ".join(f"{element.id:X}" for element in elements)
        for elements in (
            [attribute for attribute in selection.attributes if attribute.id < 0xF000],
            selection.accepted_commands,
            selection.generated_commands,
            selection.events,
        )
    )


def test_selection_follows_features_and_optional_elements(evse: ClusterDefinition) -> None:
    plain = evse.select()
    assert ids(plain) == "0 1 2 3 5 6 7 40 41 42 | 1 2 |  | 0 1 2 3 4"
    assert plain.feature_map == 0
    with_targets = evse.select(["SOC", "PREF"])
    assert (
        ids(with_targets) == "0 1 2 3 5 6 7 23 24 25 26 30 31 40 41 42 | 1 2 5 6 7 | 0 | 0 1 2 3 4"
    )
    assert with_targets.feature_map == 0x3
    assert with_targets.features == {"PREF", "SOC"}
    everything = evse.select(
        ["PREF", "SOC", "PNC", "RFID", "V2X"],
        ["StartDiagnostics", "ApproximateEVEfficiency", "UserMaximumChargeCurrent", "RFID"],
    )
    assert everything.feature_map == 0x1F
    assert ids(everything) == (
        "0 1 2 3 4 5 6 7 8 9 23 24 25 26 27 30 31 32 40 41 42 43 | 1 2 3 4 5 6 7 | 0 | 0 1 2 3 4 5"
    )


def test_optional_elements_require_their_feature(evse: ClusterDefinition) -> None:
    assert ids(evse.select([], ["ApproximateEVEfficiency", "RFID"])) == ids(evse.select())


def test_selection_includes_global_attributes(evse: ClusterDefinition) -> None:
    attributes = evse.select().attributes
    assert [attribute.id for attribute in attributes[-5:]] == [
        0xFFF8,
        0xFFF9,
        0xFFFB,
        0xFFFC,
        0xFFFD,
    ]
    assert all(attribute.read_privilege is Privilege.VIEW for attribute in attributes[-5:])
    assert evse.attribute("ClusterRevision").key == "cluster_revision"


SELECTIONS = [
    ("Descriptor", [], "0 1 2 3 |  |  | "),
    ("Access Control", [], "0 2 3 4 |  |  | 0 1"),
    ("Basic Information", [], "0 1 2 3 4 5 6 7 8 9 A 13 15 16 |  |  | 0"),
    ("General Commissioning", [], "0 1 2 3 4 | 0 2 4 | 1 3 5 | "),
    ("Network Commissioning", ["ET"], "0 1 4 5 6 7 |  |  | "),
    ("General Diagnostics", [], "0 1 2 8 | 0 1 | 2 | 3"),
    ("General Diagnostics", ["DMTEST"], "0 1 2 8 | 0 1 3 | 2 4 | 3"),
    ("Administrator Commissioning", [], "0 1 2 | 0 2 |  | "),
    ("Administrator Commissioning", ["BC"], "0 1 2 | 0 1 2 |  | "),
    ("Operational Credentials", [], "0 1 2 3 4 5 | 0 2 4 6 7 9 A B | 1 3 5 8 | "),
    ("Group Key Management", [], "0 1 2 3 | 0 1 3 4 | 2 5 | "),
    ("Energy EVSE Mode", [], "0 1 | 0 | 1 | "),
    ("Device Energy Management Mode", [], "0 1 | 0 | 1 | "),
    ("Electrical Power Measurement", ["ALTC"], "0 1 2 8 |  |  | "),
    (
        "Electrical Energy Measurement",
        ["IMPE", "EXPE", "CUME", "PERE"],
        "0 1 2 3 4 |  |  | 0 1",
    ),
    ("Power Topology", ["NODE"], " |  |  | "),
    ("Power Source", ["WIRED"], "0 1 2 5 1F |  |  | "),
    (
        "Device Energy Management",
        ["PA", "PFR", "STA", "PAU", "FA", "CON"],
        "0 1 2 3 4 5 6 7 | 0 1 2 3 4 5 6 7 |  | 0 1 2 3",
    ),
    (
        "Device Energy Management",
        ["SFR", "STA", "PAU", "FA", "CON"],
        "0 1 2 3 4 6 7 | 2 3 4 5 6 7 |  | 2 3",
    ),
    ("Identify", [], "0 1 | 0 |  | "),
    ("Ethernet Network Diagnostics", ["PKTCNT", "ERRCNT"], "2 3 4 5 6 | 0 |  | "),
    ("Time Synchronization", [], "0 1 | 0 |  | 3"),
]


@pytest.mark.parametrize(("cluster", "features", "expected"), SELECTIONS)
def test_selection_includes_mandatory_elements(
    cluster: str, features: list[str], expected: str
) -> None:
    assert ids(load_definitions()[cluster].select(features)) == expected


def test_selection_includes_event_of_an_optional_attribute() -> None:
    cluster = load_definitions()["Electrical Power Measurement"]
    assert ids(cluster.select(["ALTC"], ["Ranges"])) == "0 1 2 3 8 |  |  | 0"


@pytest.mark.parametrize(
    ("cluster", "features", "optional", "message"),
    [
        ("Energy EVSE", ["PREF", "XYZ"], [], "no feature XYZ; known are: PREF, SOC"),
        ("Energy EVSE", [], ["NoSuchThing"], "no attribute, command or event NoSuchThing"),
        ("Power Topology", [], [], "exactly 1 of the features NODE, TREE, SET"),
        ("Power Topology", ["NODE", "TREE"], [], "exactly 1 of the features NODE, TREE, SET"),
        ("Electrical Power Measurement", [], [], "at least 1 of the features DIRC, ALTC"),
        ("Electrical Power Measurement", ["DIRC", "HARM"], [], "cannot have feature HARM"),
        ("Device Energy Management", ["STA"], [], "requires feature PFR here"),
    ],
)
def test_invalid_selection_is_an_error(
    cluster: str, features: list[str], optional: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_definitions()[cluster].select(features, optional)


def test_every_feature_set_selects_or_raises_config_error() -> None:
    for cluster in load_definitions().values():
        codes = [feature.code for feature in cluster.features]
        made = 0
        for count in range(len(codes) + 1):
            for features in combinations(codes, count):
                try:
                    selection = cluster.select(features)
                except ConfigError:
                    continue
                made += 1
                numbers = [attribute.id for attribute in selection.attributes]
                assert numbers == sorted(numbers)
        assert made, cluster.name


def test_elements_are_found_by_either_name(evse: ClusterDefinition) -> None:
    assert evse.attribute("SessionID") is evse.attribute("session_id") is evse.attributes[0x40]
    assert evse.command("SetTargets").is_timed
    assert evse.response("GetTargetsResponse").is_response
    assert evse.event("Fault").id == 4
    assert evse.enum("StateEnum").values["PluggedInCharging"] == 3
    assert evse.bitmaps["TargetDayOfWeekBitmap"].mask == 0x7F
    for look_up in (evse.attribute, evse.command, evse.response, evse.event, evse.enum):
        with pytest.raises(ConfigError, match=r"cluster Energy EVSE has no .* Nothing"):
            look_up("Nothing")


def test_initial_value_is_the_default_or_an_empty_value(evse: ClusterDefinition) -> None:
    def initial(name: str) -> object:
        return evse.attribute(name).initial_value()

    assert initial("MinimumChargeCurrent") == 6000
    assert initial("ChargingEnabledUntil") == 0
    assert initial("SessionID") is None
    assert initial("FaultState") == 0
    definitions = load_definitions()
    assert definitions["Basic Information"].attribute("Location").initial_value() == "XX"
    assert definitions["Fixed Label"].attribute("LabelList").initial_value() == []
    info = definitions["General Commissioning"].attribute("BasicCommissioningInfo")
    assert info.initial_value() == {
        "fail_safe_expiry_length_seconds": 0,
        "max_cumulative_failsafe_seconds": 0,
    }
    limits = definitions["Operational Credentials"].attribute("SupportedFabrics")
    assert limits.initial_value() == 5


def test_qualities_apply_to_definitions() -> None:
    definitions = load_definitions()
    evse = definitions["Energy EVSE"]
    assert evse.attribute("SessionEnergyCharged").is_nonvolatile
    assert not evse.attribute("State").is_nonvolatile
    assert definitions["Electrical Power Measurement"].attribute("ActivePower").is_quieter
    assert definitions["General Diagnostics"].attribute("UpTime").changes_omitted
    assert definitions["Descriptor"].attribute("ServerList").is_fixed
    acl = definitions["Access Control"].attribute("ACL")
    assert acl.is_fabric_scoped
    assert (acl.read_privilege, acl.write_privilege) == (
        Privilege.ADMINISTER,
        Privilege.ADMINISTER,
    )
    assert definitions["Operational Credentials"].command("UpdateNOC").is_fabric_scoped
    assert not definitions["Operational Credentials"].command("AddNOC").is_fabric_scoped
    assert definitions["Access Control"].event("AccessControlEntryChanged").is_fabric_sensitive
