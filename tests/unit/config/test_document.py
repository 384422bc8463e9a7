from __future__ import annotations

from pathlib import Path

from evse_node.cluster.definitions.revision import revision_names
from evse_node.config.document import settings_document
from evse_node.config.node_config import SETTINGS

DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def test_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == settings_document(), (
        "docs/settings.md differs from the settings: "
        "run python -m evse_node.config.document > docs/settings.md"
    )


def test_document_names_each_setting() -> None:
    text = settings_document()
    for setting in SETTINGS:
        assert f"| `--{setting.key}` | `EVSE_NODE_" in text
        assert all((setting.metavar, setting.help, setting.default, setting.expected))


def test_matter_versions_are_those_with_definitions() -> None:
    setting = next(each for each in SETTINGS if each.key == "matter-version")
    assert setting.expected == f"one of {', '.join(revision_names())}"
