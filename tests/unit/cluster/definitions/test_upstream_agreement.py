"""Comparison of the node's own definitions with upstream's ZAP files.

The own files follow data model 1.3 (see test_data_model_agreement.py). DEVIATIONS lists
intended differences with their reasons.
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

# Clusters and paths (regular expressions), with the reason for the deviation.
DEVIATIONS: list[tuple[str, str, str]] = [
    (
        "Power Source|Network Commissioning|Group Key Management|Temperature Measurement",
        "revision",
        "upstream's file lacks ClusterRevision, or has another version",
    ),
    (
        "Access Control",
        "attribute 000[234].default",
        "defaults of data model 1.3 that ZAP lacks",
    ),
    (
        "Basic Information|Network Commissioning|Group Key Management",
        "attribute (0016|0004|0003).default",
        "defaults of data model 1.3 that ZAP lacks",
    ),
    (
        "Time Synchronization|Device Energy Management",
        "attribute 000[80].default",
        "data model 1.3 has no default here",
    ),
    (
        "Access Control|Device Energy Management Mode",
        r"enum (AccessControlEntryPrivilegeEnum|ModeTag)\..*",
        "the specification spells these names without a space",
    ),
    (
        "Basic Information|Diagnostic Logs",
        r"(attribute 000D|response 01\.1).type",
        "a long string is encoded like any string",
    ),
    (
        "General Diagnostics|Network Commissioning",
        r"struct (NetworkInterface|ThreadInterfaceScanResultStruct)\.[456].type",
        "address types of the specification are octet strings on the wire",
    ),
    (
        "Power Source",
        "struct (Wired|Bat|BatCharge)FaultChangeType",
        "unused in upstream",
    ),
    (
        "Network Commissioning",
        r"feature 3|bitmap WiFiSecurityBitmap\.0x20|command 09|response 0A"
        r"|command 02\.[345]|response 05\.[34]|struct NetworkInfoStruct\.[23]",
        "per-device credentials are not part of 1.3",
    ),
    (
        "Network Commissioning",
        r"struct (WiFi|Thread)InterfaceScanResultStruct\.\d\.optional",
        "optional in data model 1.3",
    ),
    (
        "General Diagnostics",
        "command 03.access",
        "PayloadTestRequest requires Manage in data model 1.3",
    ),
    (
        "Time Synchronization|Administrator Commissioning",
        "enum StatusCode(Enum)?",
        "the name of the enum in 1.3 is StatusCodeEnum",
    ),
    ("Time Synchronization", r"response 03\.0", "the name in 1.3 is DSTOffsetsRequired"),
    (
        "Group Key Management",
        r"attribute 000[01].length",
        "the length depends on fabrics and keys; 1.3 has no number",
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
        "upstream's comments are at the wrong elements",
    ),
    (
        "Device Energy Management",
        r"attribute 0005\.(type|length)|struct PowerAdjustCapabilityStruct"
        r"|enum PowerAdjustReasonEnum|struct ForecastStruct\.0(.type)?|command 05\.0"
        r"|struct ForecastStruct\.6|struct SlotStruct\.5|struct SlotAdjustmentStruct\.1.optional",
        "controllers support only the encoding of revision 4",
    ),
    (
        "Energy EVSE",
        r"attribute 000[5678].range|command 0(2\.1|2\.2|3\.1).range|event 02\.2.range",
        "data model 1.3 sets no upper bound; the reference device enforces none",
    ),
]


def is_tighter(own: object, other: object) -> bool:
    """Return whether the first range lies inside the second."""
    assert isinstance(own, tuple)
    assert isinstance(other, tuple)
    (low, high), (other_low, other_high) = own, other
    return (other_low is None or (low is not None and low >= other_low)) and (
        other_high is None or (high is not None and high <= other_high)
    )


def is_less_strict(difference: Difference) -> bool:
    """Return whether ZAP is only less strict: "optional", or a wider range or none.

    The stricter own files are compared with the data model elsewhere.
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


def test_all_clusters_of_upstream_are_shipped() -> None:
    assert set(upstream()) == {*OWN, "Groups"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_definition_agrees_with_upstream(name: str) -> None:
    for difference in differences(cluster_facts(OWN[name]), cluster_facts(upstream()[name])):
        path, own, other = difference
        reasons = [
            reason
            for clusters, paths, reason in DEVIATIONS
            if re.fullmatch(clusters, name) and re.fullmatch(paths, path)
        ]
        if not is_less_strict(difference):
            assert reasons, f"{name} {path}: own {own!r}, upstream {other!r}"


def test_every_deviation_from_upstream_exists() -> None:
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


def test_energy_evse_of_upstream_selects_the_same_elements() -> None:
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


def test_codecs_compile_for_all_definitions() -> None:
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


def test_missing_folder_raises_config_error() -> None:
    with pytest.raises(ConfigError):
        len(load_definitions(SPECIFICATION / "nothing"))
