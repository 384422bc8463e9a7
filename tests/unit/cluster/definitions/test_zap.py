"""Cluster files in both dialects, their types and qualities, and the shipped files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evse_node.cluster.definitions import zap
from evse_node.cluster.definitions.conformance import MANDATORY, OPTIONAL
from evse_node.cluster.definitions.definition import Kind
from evse_node.cluster.definitions.qualities import read_qualities
from evse_node.cluster.definitions.zap import (
    QUALITIES_FILE,
    SHIPPED_FOLDER,
    Definitions,
    load_cluster_file,
    load_definitions,
)
from evse_node.errors import ConfigError
from evse_node.matter.data_model import EventPriority, Privilege
from tests.unit.cluster.definitions.zap_file import load

# One cluster in both dialects: names as text and conformance as comments ...
OLD = """<?xml version="1.0"?>
<configurator>
<domain name="CHIP"/>
<enum name="ModeEnum" type="enum8"><cluster code="0x7001"/>
  <item name="Off" value="0"/><item name="On" value="0x01"/>
</enum>
<bitmap name="DayBitmap" type="bitmap8"><cluster code="0x7001"/>
  <field name="Sunday" mask="0x01"/><field name="Monday" mask="0x02"/>
</bitmap>
<struct name="EntryStruct" isFabricScoped="true"><cluster code="0x7001"/>
  <item fieldId="1" name="Data" type="octet_string" length="128" isFabricSensitive="true"/>
  <item fieldId="3" name="Mode" type="ModeEnum" optional="true" isNullable="true"/>
</struct>
<cluster>
  <name>Test Cluster</name><code>0x7001</code><define>TEST_CLUSTER</define>
  <client init="false" tick="false">true</client><server init="false" tick="false">true</server>
  <description>ignored</description>
  <globalAttribute side="either" code="0xFFFD" value="7"/>
  <features>
    <feature bit="0" code="AA" name="First" summary="ignored"><optionalConform/></feature>
    <feature bit="3" code="BB" name="Second">
      <optionalConform><feature name="AA"/></optionalConform>
    </feature>
  </features>
  <attribute side="client" code="0x0000" define="X" type="int8u">NotOurs</attribute>
  <attribute side="server" code="0x0000" define="A" type="int16u" min="1" max="0x0100"
             default="5" writable="true">
    <access op="read" role="manage"/><access op="write" privilege="administer"/>
    <description>Plain</description>
  </attribute>
  <!-- Conformance feature AA - for now optional -->
  <attribute side="server" code="1" define="B" type="int8s" min="0x9C" isNullable="true"
             default="0x80" optional="true">WithFirst</attribute>
  <!--Conformance feature [AA \\| !BB] - for now optional-->
  <attribute side="server" code="2" define="C" type="array" entryType="EntryStruct" length="10"
             writable="true" optional="true">Entries</attribute>
  <attribute side="server" code="3" define="D" type="char_string" minLength="1" length="32"
             optional="true" mustUseTimedWrite="true" writable="true">Label</attribute>
  <!--Conformance feature BB - for now optional-->
  <attribute side="server" code="4" define="E" type="DayBitmap" default="2">Always</attribute>
  <command source="client" code="0" name="Ask" response="Answer" mustUseTimedInvoke="true"
           isFabricScoped="true" optional="false" cli="ignored">
    <arg name="First" type="int8u"/><arg name="Days" type="DayBitmap" array="true" length="7"/>
    <access op="invoke" privilege="manage"/>
  </command>
  <!-- Conformance feature BB - for now optional -->
  <command source="client" code="1" name="Notify" optional="true"/>
  <command source="server" code="0" name="Answer"><arg name="Status" type="enum8"/></command>
  <event side="server" code="0" name="Happened" priority="critical" isFabricSensitive="true">
    <field id="2" name="Mode" type="ModeEnum"/><access op="read" privilege="administer"/>
  </event>
  <event side="server" code="1" name="Maybe" priority="debug" optional="true"/>
</cluster>
</configurator>
"""

# ... and names as attributes, conformance as elements.
NEW = """<?xml version="1.0"?>
<configurator xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
              xsi:noNamespaceSchemaLocation="../../zcl.xsd">
<domain name="CHIP"/>
<cluster>
  <name>Test Cluster</name><code>0x7001</code><define>TEST_CLUSTER</define>
  <globalAttribute side="either" code="0xFFFD" value="7"/>
  <features>
    <feature bit="0" code="AA" name="First"><optionalConform/></feature>
    <feature bit="3" code="BB" name="Second">
      <optionalConform><feature name="AA"/></optionalConform>
    </feature>
  </features>
  <attribute side="server" code="0x0000" name="Plain" define="A" type="int16u" min="1"
             max="256" default="5" writable="true">
    <access op="read" privilege="manage"/><access op="write" privilege="administer"/>
    <mandatoryConform/>
  </attribute>
  <!-- Conformance feature BB - superseded by the element -->
  <attribute side="server" code="0x0001" name="WithFirst" define="B" type="int8s" min="-100"
             isNullable="true" default="null" optional="true">
    <mandatoryConform><feature name="AA"/></mandatoryConform>
  </attribute>
  <attribute side="server" code="0x0002" name="Entries" define="C" type="array"
             entryType="EntryStruct" length="10" writable="true" optional="true">
    <optionalConform><orTerm><feature name="AA"/><notTerm><feature name="BB"/></notTerm></orTerm>
    </optionalConform>
  </attribute>
  <attribute side="server" code="0x0003" name="Label" define="D" type="char_string"
             minLength="1" length="32" mustUseTimedWrite="true" writable="true">
    <optionalConform/>
  </attribute>
  <attribute side="server" code="0x0004" name="Always" type="DayBitmap" default="Monday">
    <quality changeOmitted="false"/><mandatoryConform/>
  </attribute>
  <command source="client" code="0x00" name="Ask" response="Answer" mustUseTimedInvoke="true"
           isFabricScoped="true">
    <arg id="0" name="First" type="int8u"/>
    <arg id="1" name="Days" type="DayBitmap" array="true" length="7"/>
    <access op="invoke" privilege="manage"/><mandatoryConform/>
  </command>
  <command source="client" code="0x01" name="Notify" optional="true">
    <mandatoryConform><feature name="BB"/></mandatoryConform>
  </command>
  <command source="server" code="0x00" name="Answer" disableDefaultResponse="true">
    <arg id="0" name="Status" type="enum8"/><mandatoryConform/>
  </command>
  <event side="server" code="0x00" name="Happened" priority="critical" isFabricSensitive="true">
    <field id="2" name="Mode" type="ModeEnum"/><access op="read" privilege="administer"/>
    <mandatoryConform/>
  </event>
  <event side="server" code="0x01" name="Maybe" priority="debug"><optionalConform/></event>
</cluster>
<enum name="ModeEnum" type="enum8"><cluster code="0x7001"/>
  <item name="Off" value="0x00"/><item name="On" value="0x01"/>
</enum>
<bitmap name="DayBitmap" type="bitmap8"><cluster code="0x7001"/>
  <field name="Sunday" mask="0x01"/><field name="Monday" mask="0x02"/>
</bitmap>
<struct name="EntryStruct" isFabricScoped="true"><cluster code="0x7001"/>
  <item fieldId="1" name="Data" type="octet_string" length="128" isFabricSensitive="true"/>
  <item fieldId="3" name="Mode" type="ModeEnum" optional="true" isNullable="true"/>
</struct>
</configurator>
"""


@pytest.mark.parametrize("text", [OLD, NEW], ids=["old", "new"])
def test_definition_is_the_same_in_both_dialects(tmp_path: Path, text: str) -> None:
    cluster = load(tmp_path, text)
    assert (cluster.id, cluster.name, cluster.revision) == (0x7001, "Test Cluster", 7)
    assert [(f.bit, f.code, f.name, str(f.conformance)) for f in cluster.features] == [
        (0, "AA", "First", "O"),
        (3, "BB", "Second", "[AA]"),
    ]
    plain, first, entries, label, always = cluster.attributes.values()
    assert (plain.name, plain.key, plain.id) == ("Plain", "plain", 0)
    assert (plain.type.kind, plain.type.size) == (Kind.UNSIGNED, 2)
    assert (plain.type.minimum, plain.type.maximum) == (1, 256)
    assert (plain.has_default, plain.default) == (True, 5)
    assert (plain.read_privilege, plain.write_privilege) == (
        Privilege.MANAGE,
        Privilege.ADMINISTER,
    )
    assert plain.conformance == MANDATORY
    assert first.type.kind is Kind.SIGNED
    assert (first.type.minimum, first.type.maximum, first.type.is_nullable) == (-100, None, True)
    assert (first.has_default, first.default, first.write_privilege) == (True, None, None)
    assert str(first.conformance) == "AA"
    assert entries.type.kind is Kind.LIST
    assert entries.type.entry is not None
    assert entries.type.entry.struct is cluster.structs["EntryStruct"]
    assert (entries.type.min_length, entries.type.max_length) == (None, 10)
    assert entries.is_fabric_scoped
    assert entries.write_privilege is Privilege.OPERATE
    assert str(entries.conformance) == "[AA | !BB]"
    assert (label.type.kind, label.type.min_length, label.type.max_length) == (Kind.STRING, 1, 32)
    assert label.is_timed_write
    assert not label.is_fabric_scoped
    assert label.conformance == OPTIONAL
    assert always.conformance == MANDATORY
    assert always.default == 2

    ask, notify = cluster.commands.values()
    assert (ask.name, ask.response, ask.invoke_privilege) == ("Ask", "Answer", Privilege.MANAGE)
    assert (ask.is_timed, ask.is_fabric_scoped, ask.is_response) == (True, True, False)
    assert [(field.id, field.key) for field in ask.fields] == [(0, "first"), (1, "days")]
    assert ask.fields[1].type.kind is Kind.LIST
    assert ask.fields[1].type.max_length == 7
    assert (notify.fields, notify.response, notify.is_timed) == ((), None, False)
    assert notify.invoke_privilege is Privilege.OPERATE
    assert str(notify.conformance) == "BB"
    (answer,) = cluster.responses.values()
    assert (answer.name, answer.is_response) == ("Answer", True)
    assert answer.fields[0].type.kind is Kind.ENUM

    happened, maybe = cluster.events.values()
    assert (happened.priority, happened.read_privilege, happened.is_fabric_sensitive) == (
        EventPriority.CRITICAL,
        Privilege.ADMINISTER,
        True,
    )
    assert happened.fields[0].id == 2
    assert (maybe.priority, maybe.read_privilege) == (EventPriority.DEBUG, Privilege.VIEW)
    assert maybe.conformance == OPTIONAL

    assert cluster.enums["ModeEnum"].values == {"Off": 0, "On": 1}
    assert cluster.bitmaps["DayBitmap"].fields == {"Sunday": 1, "Monday": 2}
    data, mode = cluster.structs["EntryStruct"].fields
    assert (data.id, data.is_fabric_sensitive, data.type.max_length) == (1, True, 128)
    assert (mode.id, mode.is_optional, mode.type.is_nullable) == (3, True, True)
    assert cluster.structs["EntryStruct"].is_fabric_scoped
    assert [attribute.id for attribute in cluster.global_attributes][-1] == 0xFFFD


def test_type_name_is_resolved_for_its_cluster(tmp_path: Path) -> None:
    """Two clusters have a type of the same name each, a shared type, and one of all clusters."""
    text = """<configurator>
    <enum name="KindEnum" type="enum8"><cluster code="1"/><item name="A" value="1"/></enum>
    <enum name="KindEnum" type="enum8"><cluster code="2"/><item name="B" value="2"/></enum>
    <struct name="BothStruct"><cluster code="1"/><cluster code="2"/>
      <item name="Kind" type="KindEnum"/><item name="Common" type="CommonEnum"/></struct>
    <enum name="CommonEnum" type="enum16"><item name="C" value="3"/></enum>
    <cluster><name>One</name><code>1</code>
      <attribute code="0" name="Both" type="BothStruct"/></cluster>
    <cluster><name>Two</name><code>2</code>
      <attribute code="0" name="Both" type="BothStruct"/></cluster>
    </configurator>"""
    file = tmp_path / "two.xml"
    file.write_text(text)
    one, two = load_cluster_file(file)
    for cluster, value in ((one, {"A": 1}), (two, {"B": 2})):
        struct = cluster.attribute("Both").type.struct
        assert struct is not None
        kind, common = struct.fields
        assert kind.type.enum is not None
        assert kind.type.enum.values == value
        assert common.type.enum is not None
        assert common.type.enum.values == {"C": 3}
        assert common.type.size == 2
        assert set(cluster.enums) == {"KindEnum"}
        assert set(cluster.structs) == {"BothStruct"}


def test_folder_shares_types_among_its_files(tmp_path: Path) -> None:
    """Upstream defines a derived cluster's structs in the base cluster's file."""
    (tmp_path / "base.xml").write_text(
        '<configurator><struct name="ModeOptionStruct"><cluster code="0x9D"/>'
        '<item name="Mode" type="int8u"/></struct></configurator>'
    )
    (tmp_path / "derived-cluster.xml").write_text(
        "<configurator><cluster><name>Energy EVSE Mode</name><code>0x9D</code>"
        '<attribute code="0" name="SupportedModes" type="array" entryType="ModeOptionStruct"/>'
        "</cluster></configurator>"
    )
    struct = load_definitions(tmp_path)["Energy EVSE Mode"].structs["ModeOptionStruct"]
    assert [field.name for field in struct.fields] == ["Mode"]
    # A single file falls back to the node's own types.
    (alone,) = load_cluster_file(tmp_path / "derived-cluster.xml")
    entry = alone.attribute("SupportedModes").type.entry
    assert entry is not None
    assert entry.struct is not None
    assert [field.name for field in entry.struct.fields] == ["Label", "Mode", "ModeTags"]


def test_atomic_types_of_a_file_extend_the_own_ones(tmp_path: Path) -> None:
    text = """<configurator><atomic>
      <type id="0x99" name="volume_l" size="4" signed="true"/>
      <type name="int8u" size="1"/></atomic>
    <cluster><name>One</name><code>1</code>
      <attribute code="0" name="Volume" type="volume_l" min="-5"/></cluster></configurator>"""
    attribute = load(tmp_path, text).attribute("Volume")
    assert (attribute.type.kind, attribute.type.size) == (Kind.SIGNED, 4)
    with pytest.raises(ConfigError, match="type int8u has size 1, not 2"):
        load(tmp_path, text.replace('"int8u" size="1"', '"int8u" size="2"'))
    with pytest.raises(ConfigError, match="type volume_l cannot have size 9"):
        load(tmp_path, text.replace('size="4"', 'size="9"'))


def test_conformance_of_qualities_applies_only_where_the_xml_has_none(tmp_path: Path) -> None:
    text = """<configurator><cluster><name>Energy EVSE</name><code>0x99</code>
      <features><feature bit="0" code="PREF" name="x"/><feature bit="4" code="V2X" name="y"/>
      </features>
      <command source="client" code="5" name="SetTargets" optional="true"/>
      <command source="client" code="6" name="GetTargets" optional="true"><optionalConform/>
      </command>
      <command source="client" code="7" name="ClearTargets"/>
      <attribute code="0x40" name="SessionID" type="int32u"/>
      </cluster></configurator>"""
    cluster = load(tmp_path, text)
    assert str(cluster.command("SetTargets").conformance) == "PREF"
    assert str(cluster.command("GetTargets").conformance) == "O"
    assert str(cluster.command("ClearTargets").conformance) == "M"
    assert cluster.attribute("SessionID").is_nonvolatile
    assert "ChargingTargetSchedules" in cluster.command("SetTargets").unchecked


def test_qualities_name_only_defined_elements() -> None:
    definitions = load_definitions()
    for name, qualities in read_qualities(QUALITIES_FILE).items():
        cluster = definitions[name]
        for names in (
            qualities.nonvolatile,
            qualities.fixed,
            qualities.quieter,
            qualities.changes_omitted,
            qualities.fabric_sensitive,
        ):
            for attribute in names:
                cluster.attribute(attribute)
        for command, paths in qualities.server_checks.items():
            for path in paths:
                fields = cluster.command(command).fields
                for part in path.split("."):
                    (field,) = [field for field in fields if field.name == part]
                    struct = (field.type.entry or field.type).struct
                    fields = struct.fields if struct else ()


def test_shipped_file_is_named_after_its_cluster_and_can_be_read_alone() -> None:
    everything = load_definitions()
    assert len(everything) == 28
    for name in everything:
        alone = Definitions(SHIPPED_FOLDER)
        cluster = alone[name]
        assert cluster.id == everything[name].id
        assert alone._all is None


def test_own_definitions_are_created_once() -> None:
    definitions = load_definitions()
    evse = definitions["Energy EVSE"]
    assert load_definitions()["Energy EVSE"] is evse
    assert dict(definitions)["Energy EVSE"] is evse
    with pytest.raises(KeyError):
        definitions["Energy Cluster"]


def test_all_shipped_files_load_within_200_ms() -> None:

    def seconds() -> float:
        zap._base_types.cache_clear()
        start = time.process_time()
        assert len(Definitions(SHIPPED_FOLDER)) == 28
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.2
