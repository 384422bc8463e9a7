"""Revisions of the specification and their cluster definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.revision import load_revision, read_revision, revision_names
from evse_node.cluster.definitions.zap import Definitions, load_definitions, revision_definitions
from evse_node.cluster.server import ClusterServer
from evse_node.cluster.servers.energy.modes import EnergyEvseMode
from evse_node.cluster.servers.root.access_control import AccessControlServer
from evse_node.cluster.servers.root.general_commissioning import GeneralCommissioningServer
from evse_node.cluster.servers.root.group_key_management import GroupKeyManagementServer
from evse_node.cluster.servers.root.localization import UnitLocalizationServer
from evse_node.errors import ConfigError
from tests.support.matter.root_node import RootNode

CLUSTER = """<configurator><cluster>
<name>{name}</name><code>0x{code:04X}</code>
<globalAttribute side="either" code="0xFFFD" value="{revision}"/>
<attribute code="0x0000" name="First" type="int8u"/>
<attribute code="0x0001" name="Second" type="int8u"/>
</cluster></configurator>"""
NUMBERS = "specification_version = 1\ndata_model_revision = 2\ninteraction_model_revision = 3\n"


def revision(folder: Path, name: str, base: str | None = None) -> Path:
    (folder / name).mkdir()
    line = "" if base is None else f'base = "{base}"\n'
    (folder / name / "revision.toml").write_text(line + NUMBERS)
    return folder / name


def cluster(folder: Path, file: str, revision: int, code: int = 0xFC01) -> None:
    name = file.replace("_", " ").title()
    (folder / f"{file}.xml").write_text(CLUSTER.format(name=name, code=code, revision=revision))


@pytest.mark.parametrize(
    ("name", "numbers"), [("1.3", (0x01030000, 17, 11)), ("1.4.2", (0x01040200, 19, 12))]
)
def test_shipped_revision_has_its_version_numbers(name: str, numbers: tuple[int, ...]) -> None:
    found = load_revision(name)
    assert found.name == name
    assert numbers == (
        found.specification_version,
        found.data_model_revision,
        found.interaction_model_revision,
    )


def test_unknown_revision_is_an_error_that_lists_the_known_ones() -> None:
    assert revision_names() == ["1.3", "1.4.2"]
    assert load_revision().name == "1.3"
    with pytest.raises(ConfigError, match=r"no Matter version '1\.9': give one of 1\.3, 1\.4\.2"):
        load_revision("1.9")
    with pytest.raises(ConfigError):
        load_revision("../xml/1.3")


def test_file_of_a_revision_replaces_that_of_its_base(tmp_path: Path) -> None:
    old, new = revision(tmp_path, "old"), revision(tmp_path, "new", "old")
    cluster(old, "changed", 1)
    cluster(new, "changed", 2)
    cluster(old, "kept", 5, 0xFC02)
    cluster(new, "added", 7, 0xFC03)
    definitions = Definitions(*read_revision(new).folders)
    revisions = {name: definitions[name].revision for name in definitions}
    assert revisions == {"Changed": 2, "Kept": 5, "Added": 7}
    alone = Definitions(*read_revision(new).folders)
    assert alone["Kept"].revision == 5
    assert alone["Changed"].revision == 2
    with pytest.raises(KeyError):
        Definitions(*read_revision(old).folders)["Added"]


def test_qualities_of_a_revision_replace_those_of_its_base(tmp_path: Path) -> None:
    old, new = revision(tmp_path, "old"), revision(tmp_path, "new", "old")
    cluster(old, "some", 1)
    (old / "qualities.toml").write_text('[Some]\nfixed = ["First"]\nquieter = ["Second"]\n')
    (new / "qualities.toml").write_text('[Some]\nfixed = ["Second"]\n')

    def qualities(folder: Path) -> list[tuple[bool, bool]]:
        some = Definitions(*read_revision(folder).folders)["Some"]
        return [(each.is_fixed, each.is_quieter) for each in some.attributes.values()]

    assert qualities(old) == [(True, False), (False, True)]
    assert qualities(new) == [(False, False), (True, True)]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (
            f'base = "new"\n{NUMBERS}',
            "base: 'new' cannot be used: give the name of an earlier revision",
        ),
        (
            f'base = "old"\n{NUMBERS}',
            "base: 'new' cannot be used: give the name of an earlier revision",
        ),
        (f"base = 3\n{NUMBERS}", "base: 3 cannot be used: give the name of an earlier revision"),
        (f'base = "missing"\n{NUMBERS}', "cannot be read"),
        (f"bass = 3\n{NUMBERS}", "bass: no such key; known keys are base, "),
        ("specification_version = 1\n", "data_model_revision is missing: give a whole number"),
        (
            NUMBERS.replace("3", "true"),
            "interaction_model_revision: True cannot be used: give a whole number",
        ),
        ("base =", "revision.toml: "),
    ],
)
def test_manifest_error_names_file_and_key(tmp_path: Path, manifest: str, reason: str) -> None:
    revision(tmp_path, "old", "new")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "revision.toml").write_text(manifest)
    with pytest.raises(ConfigError) as caught:
        read_revision(tmp_path / "new")
    assert reason in str(caught.value)
    assert "revision.toml" in str(caught.value)


def test_definitions_of_a_revision_are_loaded_once() -> None:
    assert revision_definitions("1.4.2") is revision_definitions("1.4.2")
    assert load_definitions() is revision_definitions("1.3")
    assert revision_definitions("1.4.2")["Power Topology"].revision == 1


def present(server: ClusterServer, *names: str) -> list[bool]:
    return [name in server.attributes_by_key for name in names]


def newer(name: str) -> ClusterDefinition:
    return revision_definitions("1.4.2")[name]


def test_server_attributes_follow_the_definition_of_a_revision() -> None:
    """The same server class serves each revision."""
    root = RootNode()
    old, new = (
        AccessControlServer(definitions["Access Control"], root.access_control, root.fabrics)
        for definitions in (load_definitions(), revision_definitions("1.4.2"))
    )
    assert (root.read(old, "feature_map"), root.read(old, "cluster_revision")) == (0, 1)
    assert (root.read(new, "feature_map"), root.read(new, "cluster_revision")) == (1, 2)
    assert present(old, "extension", "arl") == [True, False]
    assert present(new, "extension", "arl") == [True, False]
    assert new.events.keys() == old.events.keys()
    plain = AccessControlServer(
        newer("Access Control"), root.access_control, root.fabrics, has_extension=False
    )
    assert present(plain, "extension") == [False]
    assert 1 not in plain.events

    GeneralCommissioningServer(
        newer("General Commissioning"), root.fail_safe, root.window, lambda country: None
    )
    GroupKeyManagementServer(newer("Group Key Management"), root.group_keys, root.fabrics)
    modes = EnergyEvseMode(newer("Energy EVSE Mode"), lambda mode, now: None)
    assert present(modes, "supported_modes", "start_up_mode") == [True, False]
    units = UnitLocalizationServer(newer("Unit Localization"))
    assert present(units, "temperature_unit", "supported_temperature_units") == [True, False]


@pytest.mark.parametrize(
    ("features", "is_valid"),
    [
        (["PREF"], True),
        (["PREF", "SOC", "PNC", "RFID", "V2X"], True),
        ([], False),
        (["SOC"], False),
    ],
)
def test_energy_evse_of_1_4_2_requires_charging_preferences(
    features: list[str], is_valid: bool
) -> None:
    definition = newer("Energy EVSE")
    assert "Enabled" in definition.enum("SupplyStateEnum").values
    if is_valid:
        definition.select(features)
    else:
        with pytest.raises(ConfigError):
            definition.select(features)


@pytest.mark.parametrize(
    ("feature_map", "is_valid"),
    [(0x7B, True), (0x7C, True), (0x01, True), (0x02, True), (0x06, False), (0x0D, False)],
)
def test_device_energy_management_of_1_4_2_accepts_only_allowed_feature_sets(
    feature_map: int, is_valid: bool
) -> None:
    definition = newer("Device Energy Management")
    features = [each.code for each in definition.features if feature_map >> each.bit & 1]
    if is_valid:
        assert definition.select(features).feature_map == feature_map
    else:
        with pytest.raises(ConfigError):
            definition.select(features)
