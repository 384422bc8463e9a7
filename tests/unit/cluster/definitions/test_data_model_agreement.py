"""Comparison of the node's own definitions with the data model of their revision.

Conformance is compared by its results for every set of features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from evse_node.cluster.definitions.conformance import Conformance, Presence
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.revision import load_revision, revision_names
from evse_node.cluster.definitions.zap import revision_definitions
from tests.unit.cluster.definitions.data_model_xml import feature_sets, read_data_model
from tests.unit.cluster.definitions.facts import (
    SPECIFICATION,
    Difference,
    Facts,
    cluster_facts,
    differences,
)

FOLDERS = {
    name: SPECIFICATION / f"data_model-{name}" / "clusters"
    for name in revision_names()
    if (SPECIFICATION / f"data_model-{name}").is_dir()
}

# Clusters of the data model that no endpoint of the node has.
NOT_SHIPPED = {"Groups"}
pytestmark = pytest.mark.skipif(not FOLDERS, reason="no data model beside the repository")

# Clusters that the data model folder has only in the older revision.
NOT_IN_FOLDER = {"1.4.2": {"Fixed Label", "User Label"}}

# Revisions, clusters and paths (regular expressions), with the reason for the deviation.
DEVIATIONS: list[tuple[str, str, str, str]] = [
    (
        "1.3",
        "Device Energy Management",
        r"attribute 0005\.(type|length)|struct PowerAdjustCapabilityStruct"
        r"|enum PowerAdjustReasonEnum|struct ForecastStruct\.0(.type)?|command 05\.0"
        r"|struct ForecastStruct\.[67](.type)?|struct SlotStruct\.5"
        r"|struct SlotAdjustmentStruct\.1.optional",
        "controllers support only the encoding of revision 4",
    ),
    (
        ".*",
        "Electrical Energy Measurement|Electrical Power Measurement",
        "(enum|struct) Measurement(Type|Accuracy|AccuracyRange).*",
        "global types, not defined in the cluster's XML",
    ),
    (
        ".*",
        "General Diagnostics",
        "attribute 0009",
        "DoNotUse is not an attribute",
    ),
    (
        ".*",
        "General Diagnostics|Network Commissioning",
        r"struct (NetworkInterface\.4|ThreadInterfaceScanResultStruct\.5).length",
        "the type limits a hardware address to 6 to 8 bytes",
    ),
    (
        ".*",
        "Software Diagnostics",
        r"attribute 0000\.(type|length|range)",
        "the data model's XML lacks the type of ThreadMetrics",
    ),
    (
        ".*",
        "Descriptor",
        "struct SemanticTagStruct",
        "a global type, not defined in the cluster's XML",
    ),
    (
        ".*",
        "Energy EVSE",
        "attribute 0009.range",
        "the text excludes a current below zero",
    ),
    (
        ".*",
        "Temperature Measurement",
        r"attribute 000[012]\.range",
        "the type's lower bound, and the limits of bounds that refer to other attributes",
    ),
    (
        ".*",
        "Group Key Management",
        r"command 04\.0",
        "a reserved field without a type is left out",
    ),
    (
        ".*",
        "Time Synchronization",
        r"event 02\.1.length",
        "the name in the event is the name of the TimeZone entry, at most 64 bytes",
    ),
    (
        ".*",
        "Operational Credentials",
        r"enum NodeOperationalCertStatusEnum\.0x[78]",
        "values reserved for future use are left out",
    ),
    (
        "1.4.2",
        "Time Synchronization",
        r"response 03\.0",
        "the same field; the file of 1.3 calls it DSTOffsetsRequired",
    ),
    (
        "1.4.2",
        "Administrator Commissioning",
        r"command 00\.1.length",
        "a verifier of another length is rejected with a cluster-specific status",
    ),
]


def own_facts(cluster: ClusterDefinition) -> Facts:
    """Return own facts in the form of the data model: no sizes and defaults, more qualities."""
    facts = {
        path: value
        for path, value in cluster_facts(cluster).items()
        if not path.endswith(".default")
        and not re.fullmatch(r"response [0-9A-F]+\.(response|access|timed|scoped)", path)
    }
    sets = feature_sets([feature.code for feature in cluster.features])

    def evaluate(conformance: Conformance) -> list[Presence]:
        return [conformance.evaluate(features) for features in sets]

    for feature in cluster.features:
        facts[f"feature {feature.bit}.conformance"] = evaluate(feature.conformance)
    for attribute in cluster.attributes.values():
        path = f"attribute {attribute.id:04X}"
        facts[f"{path}.conformance"] = evaluate(attribute.conformance)
        facts[f"{path}.qualities"] = (
            attribute.is_nonvolatile,
            attribute.is_fixed,
            attribute.is_quieter,
            attribute.changes_omitted,
        )
    for command in (*cluster.commands.values(), *cluster.responses.values()):
        kind = "response" if command.is_response else "command"
        facts[f"{kind} {command.id:02X}.conformance"] = evaluate(command.conformance)
    for event in cluster.events.values():
        facts[f"event {event.id:02X}.conformance"] = evaluate(event.conformance)
        facts[f"event {event.id:02X}.priority"] = event.priority.name.lower()
    for name in (*cluster.enums, *cluster.bitmaps):
        kind = "enum" if name in cluster.enums else "bitmap"
        facts[f"{kind} {name}"] = True
    return facts


def clusters() -> list[tuple[str, str]]:
    return [
        (revision, name)
        for revision, folder in FOLDERS.items()
        for name in sorted(read_data_model(folder).keys() - NOT_SHIPPED)
    ]


def explained_differences(
    revision: str, name: str
) -> Iterator[tuple[Difference, list[tuple[str, ...]]]]:
    """Return the differences of a cluster, each with the rows of DEVIATIONS that explain it."""
    own = own_facts(revision_definitions(revision)[name])
    for difference in differences(own, read_data_model(FOLDERS[revision])[name]):
        yield (
            difference,
            [
                row
                for row in DEVIATIONS
                if re.fullmatch(row[0], revision)
                and re.fullmatch(row[1], name)
                and re.fullmatch(row[2], difference[0])
            ],
        )


@pytest.mark.parametrize("revision", FOLDERS)
def test_all_clusters_of_the_data_model_are_shipped(revision: str) -> None:
    missing = NOT_IN_FOLDER.get(revision, set())
    shipped = set(revision_definitions(revision))
    assert set(read_data_model(FOLDERS[revision])) | missing == shipped | NOT_SHIPPED


@pytest.mark.parametrize(("revision", "name"), clusters())
def test_definition_agrees_with_the_data_model(revision: str, name: str) -> None:
    for (path, own, other), reasons in explained_differences(revision, name):
        assert reasons, f"{name} {path}: own {own!r}, data model {other!r}"


def test_every_deviation_from_the_data_model_exists() -> None:
    used = {row for case in clusters() for _, rows in explained_differences(*case) for row in rows}
    assert used == set(DEVIATIONS)


@pytest.mark.parametrize("revision", FOLDERS)
def test_revision_has_no_file_identical_to_its_base(revision: str) -> None:
    folder, *bases = load_revision(revision).folders
    for file in folder.glob("*.xml"):
        for base in bases:
            assert file.read_bytes() != (base / file.name).read_bytes(), file.name
