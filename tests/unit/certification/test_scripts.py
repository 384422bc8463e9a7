"""List and selection of scripts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.certification.run import configured, share_devices
from tests.certification.scripts import SCRIPTS, SUITES, Kind, Script, missing, select


def test_script_titles_are_unique() -> None:
    assert not [title for title, n in Counter(each.title for each in SCRIPTS).items() if n > 1]


def test_selection_omits_only_long_scripts_by_default() -> None:
    assert select([]) == [each for each in SCRIPTS if each.group != "long"]
    assert len(select([])) == len(SCRIPTS) - 1


def test_selection_accepts_group_name_and_title() -> None:
    assert {each.group for each in select(["optional"])} == {"optional"}
    assert len(select(["TC_pics_checker"])) == 4
    [one] = select(["TC_pics_checker (1.3, endpoint 0)"])
    assert one.pics_endpoint == 0


def test_selection_has_each_script_once() -> None:
    assert len(select(["TC_SC_4_3", "core", "TC_SC_4_3"])) == len(select(["core"]))


def test_unknown_names_are_selected_as_scripts_by_kind() -> None:
    assert [each.kind for each in select(["TC_X_1_1", "Test_TC_X_1_1"])] == [Kind.PYTHON, Kind.YAML]


def test_script_arguments_use_only_known_placeholders() -> None:
    for script in SCRIPTS:
        for argument in script.arguments:
            argument.format(pics="", sdk="", qr="")


SUITE = """config:
    nodeId: 0x12344321
    deviceType:
        type: int16u
        defaultValue: 65535
    productId:
        type: int16u
        defaultValue: 1
"""


def test_suite_configuration_replaces_defaults() -> None:
    assert configured(SUITE, {}) == SUITE
    assert configured(SUITE, {"deviceType": "12"}) == SUITE.replace("65535", "12")
    with pytest.raises(RuntimeError, match="deviceTypo"):
        configured(SUITE, {"deviceTypo": "12"})


def test_scripts_with_compatible_options_share_a_device() -> None:
    plain = Script("TC_A_1_1")
    adjustable = Script("TC_B_1_1", node_options=("--dem-features", "0x7B"))
    other = Script("TC_C_1_1", node_options=("--dem-features", "0x7C"), variant="0x7C")
    last = Script("TC_D_1_1")
    left_out = (
        Script("Test_TC_E_1_1", kind=Kind.YAML),
        Script("TC_F_1_1", is_commissioning=False),
        Script("TC_G_1_1", cannot="no entry for it"),
    )
    first, second = share_devices([plain, adjustable, other, *left_out, last])
    assert [each.title for each in first] == [
        "TC_A_1_1 (one device)",
        "TC_B_1_1 (one device)",
        "TC_D_1_1 (one device)",
    ]
    assert {each.node_options for each in first} == {adjustable.node_options}
    assert [each.title for each in second] == ["TC_C_1_1 (0x7C, one device)"]
    assert [each.node_options for each in share_devices([plain])[0]] == [()]
    assert share_devices(left_out) == []


def test_scripts_missing_from_sdk_are_reported_before_the_run(tmp_path: Path) -> None:
    assert missing(tmp_path, []).startswith(f"--sdk: '{tmp_path}' cannot be used")
    scripts, suites = tmp_path / "src/python_testing", tmp_path / SUITES
    scripts.mkdir(parents=True)
    suites.mkdir(parents=True)
    (scripts / "TC_X_1_1.py").touch()
    (suites / "Test_TC_X_1_2.yaml").touch()
    assert missing(tmp_path, select(["TC_X_1_1", "Test_TC_X_1_2"])) == ""
    for name in ("TC_X_1_2", "Test_TC_X_1_1", "enrgy"):
        assert missing(tmp_path, select([name])).startswith(f"{name} is no group, and no script")
