"""The node's own definitions against upstream's ZAP files, fact by fact.

The own files follow data model 1.3 (see test_data_model_agreement.py); where ZAP says less
or another thing, the table below says why that is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import combinations

import pytest

from evse_node.cluster.codec.codec import attribute_codec, command_codec, event_codec
from evse_node.cluster.definitions.definition import ClusterDefinition, Selection
from evse_node.cluster.definitions.zap import load_cluster_file, load_definitions
from evse_node.errors import ConfigError
from tests.unit.cluster.definitions.facts import (
    SPECIFICATION,
    Difference,
    cluster_facts,
    differences,
)

ZAP_FOLDER = SPECIFICATION / "zap"
SEED = SPECIFICATION / "energy-evse-cluster.xml"

pytestmark = pytest.mark.skipif(
    not (ZAP_FOLDER.is_dir() and SEED.is_file()), reason="no upstream ZAP files beside the repo"
)

OWN = load_definitions()

# Cluster, paths (regular expression), why own and upstream differ there.
DEVIATIONS: list[tuple[str, str, str]] = [
    (
        "Power Source|Network Commissioning|Group Key Management|Temperature Measurement",
        "revision",
        "upstream's file lacks ClusterRevision, or has that of another version",
    ),
    (
        "Access Control",
        "attribute 000[234].default",
        "data model 1.3 gives the defaults that ZAP leaves out",
    ),
    (
        "Basic Information|Network Commissioning|Group Key Management",
        "attribute (0016|0004|0003).default",
        "data model 1.3 gives the defaults that ZAP leaves out",
    ),
    (
        "Time Synchronization|Device Energy Management",
        "attribute 000[80].default",
        "data model 1.3 has no default here",
    ),
    (
        "Access Control|Device Energy Management Mode",
        r"enum (AccessControlEntryPrivilegeEnum|ModeTag)\..*",
        "the specification writes these names without a blank",
    ),
    (
        "Basic Information|Diagnostic Logs",
        r"(attribute 000D|response 01\.1).type",
        "a long string is encoded like any string",
    ),
    (
        "General Diagnostics|Network Commissioning",
        r"struct (NetworkInterface|ThreadInterfaceScanResultStruct)\.[456].type",
        "the specification has types for addresses; on the wire they are octet strings",
    ),
    (
        "Power Source",
        "struct (Wired|Bat|BatCharge)FaultChangeType",
        "leftovers of upstream, used nowhere",
    ),
    (
        "Network Commissioning",
        r"feature 3|bitmap WiFiSecurityBitmap\.0x20|command 09|response 0A"
        r"|command 02\.[345]|response 05\.[34]|struct NetworkInfoStruct\.[23]",
        "per-device credentials are no part of 1.3",
    ),
    (
        "Network Commissioning",
        r"struct (WiFi|Thread)InterfaceScanResultStruct\.\d\.optional",
        "optional in data model 1.3",
    ),
    (
        "General Diagnostics",
        "command 03.access",
        "PayloadTestRequest takes Manage in data model 1.3",
    ),
    (
        "Time Synchronization|Administrator Commissioning",
        "enum StatusCode(Enum)?",
        "the same enum; 1.3 calls it StatusCodeEnum",
    ),
    ("Time Synchronization", r"response 03\.0", "1.3 calls it DSTOffsetsRequired"),
    (
        "Group Key Management",
        r"attribute 000[01].length",
        "the length depends on fabrics and keys; 1.3 names no number",
    ),
    (
        "Group Key Management",
        r"enum GroupKeyMulticastPolicyEnum|struct GroupKeySetStruct\.8",
        "the multicast policy of 1.3, which ZAP lacks",
    ),
    (
        "Group Key Management",
        r"struct GroupKeySetStruct\.[1-7].sensitive",
        "fabric sensitive in data model 1.3",
    ),
    (
        "Electrical Power Measurement|Electrical Energy Measurement",
        r"attribute 00(05|0E|0F|10|11|02|03|04).conformance|event 00.conformance",
        "upstream's comments stand before the wrong elements",
    ),
    (
        "Device Energy Management",
        r"attribute 0005\.(type|length)|struct PowerAdjustCapabilityStruct"
        r"|enum PowerAdjustReasonEnum|struct ForecastStruct\.0(.type)?|command 05\.0"
        r"|struct ForecastStruct\.6|struct SlotStruct\.5|struct SlotAdjustmentStruct\.1.optional",
        "controllers know only the encoding of revision 4",
    ),
    (
        "Energy EVSE",
        r"attribute 000[5678].range|command 0(2\.1|2\.2|3\.1).range|event 02\.2.range",
        "data model 1.3 sets no upper bound; the reference device enforces none",
    ),
]


def is_tighter(own: object, other: object) -> bool:
    """Whether the first range lies inside the second."""
    assert isinstance(own, tuple)
    assert isinstance(other, tuple)
    (low, high), (other_low, other_high) = own, other
    return (other_low is None or (low is not None and low >= other_low)) and (
        other_high is None or (high is not None and high <= other_high)
    )


def is_less_said(difference: Difference) -> bool:
    """Whether ZAP only says less: no more than "optional", or a wider range or none.

    What the own files say there is held against the data model.
    """
    path, own, other = difference
    if path.endswith(".conformance"):
        return other == "O"
    return path.endswith((".range", ".length")) and is_tighter(own, other)


@cache
def upstream() -> Mapping[str, ClusterDefinition]:
    clusters = dict(load_definitions(ZAP_FOLDER))
    (evse,) = load_cluster_file(SEED)
    clusters[evse.name] = evse
    return clusters


def test_every_cluster_is_there() -> None:
    assert set(upstream()) == {*OWN, "Groups"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_definitions_agree(name: str) -> None:
    for difference in differences(cluster_facts(OWN[name]), cluster_facts(upstream()[name])):
        path, own, other = difference
        reasons = [
            reason
            for clusters, paths, reason in DEVIATIONS
            if re.fullmatch(clusters, name) and re.fullmatch(paths, path)
        ]
        if not is_less_said(difference):
            assert reasons, f"{name} {path}: own {own!r}, upstream {other!r}"


def test_no_deviation_is_out_of_date() -> None:
    used = set()
    for name, cluster in OWN.items():
        for path, _, _ in differences(cluster_facts(cluster), cluster_facts(upstream()[name])):
            for row in DEVIATIONS:
                clusters, paths, _ = row
                if re.fullmatch(clusters, name) and re.fullmatch(paths, path):
                    used.add(row)
    assert used == set(DEVIATIONS)


def names(selection: Selection) -> list[list[str]]:
    return [
        [element.name for element in elements]
        for elements in (
            selection.attributes,
            selection.accepted_commands,
            selection.generated_commands,
            selection.events,
        )
    ]


def test_the_seed_selects_like_the_own_file() -> None:
    """A charger from upstream's file has the same elements, whatever its features."""
    own, seed = OWN["Energy EVSE"], upstream()["Energy EVSE"]
    optional = ["StartDiagnostics", "UserMaximumChargeCurrent", "ApproximateEVEfficiency", "RFID"]
    codes = [feature.code for feature in own.features]
    for count in range(len(codes) + 1):
        for features in combinations(codes, count):
            for named in ([], optional):
                assert names(own.select(features, named)) == names(seed.select(features, named))
    for attribute in own.attributes.values():
        other = seed.attributes[attribute.id]
        assert attribute.is_nonvolatile == other.is_nonvolatile, attribute.name


def test_codecs_can_be_made_of_all() -> None:
    count = 0
    for cluster in (*upstream().values(), *OWN.values()):
        for attribute in (*cluster.attributes.values(), *cluster.global_attributes):
            attribute_codec(attribute)
            count += 1
        for command in (*cluster.commands.values(), *cluster.responses.values()):
            command_codec(command)
        for event in cluster.events.values():
            event_codec(event)
    assert count > 400


def test_unknown_folder_names_its_error() -> None:
    with pytest.raises(ConfigError):
        len(load_definitions(SPECIFICATION / "nothing"))
