"""Cluster files written by tests."""

from __future__ import annotations

from pathlib import Path

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.zap import load_cluster_file


def load(tmp_path: Path, text: str) -> ClusterDefinition:
    """Write the text to cluster.xml and read its only cluster."""
    file = tmp_path / "cluster.xml"
    file.write_text(text)
    (cluster,) = load_cluster_file(file)
    return cluster
