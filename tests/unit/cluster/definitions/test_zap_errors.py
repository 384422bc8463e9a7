"""Errors in cluster files and their qualities: one line with file, line and reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evse_node.cluster.definitions.qualities import read_qualities
from evse_node.cluster.definitions.zap import (
    load_cluster_file,
    load_definitions,
)
from evse_node.errors import ConfigError
from tests.unit.cluster.definitions.zap_file import load

MINIMAL = """<configurator>
<enum name="ModeEnum" type="enum8">
  <cluster code="0x7001"/>
  <item name="Off" value="0"/>
  <item name="On" value="1"/>
</enum>
<struct name="InnerStruct">
  <cluster code="0x7001"/>
  <item fieldId="0" name="Value" type="int8u"/>
</struct>
<cluster>
  <name>Test Cluster</name>
  <code>0x7001</code>
  <features>
    <feature bit="0" code="AA" name="First"/>
  </features>
  <attribute side="server" code="0x0000" name="Plain" type="int8u" default="0"/>
  <attribute side="server" code="0x0001" name="Other" type="InnerStruct"/>
  <command source="client" code="0x00" name="Ask" response="Answer"/>
  <command source="server" code="0x01" name="Answer"/>
  <event side="server" code="0x00" name="Happened" priority="info"/>
</cluster>
</configurator>
"""

# Text of MINIMAL, its replacement, the line of the error, and a part of the message.
ERRORS = [
    ('type="int8u" default', 'type="int9u" default', 17, "unknown type int9u"),
    ("</enum>", "</enumm>", 6, "mismatched tag"),
    ("<configurator>", "<zcl>\n<configurator>", 25, "no element found|unclosed"),
    (
        'code="0x0001" name="Other"',
        'code="0x0000" name="Other"',
        18,
        "attribute id 0x0000 is already defined at",
    ),
    ('name="Other"', 'name="Plain"', 18, "attribute plain is already defined at"),
    ('default="0"', 'default="zero"', 17, "default 'zero' is not a number"),
    ('default="0"', 'default="256"', 17, "default 256 of type int8u is not in 0 to 255"),
    ('default="0"', 'default="3" min="5"', 17, "default 3 of type int8u is not in 5 to 255"),
    ('default="0"', 'default="7" max="5"', 17, "default 7 of type int8u is not in 0 to 5"),
    ('default="0"', 'min="9" max="5"', 17, "min 9 is above max 5"),
    ('default="0"', 'max="1_0"', 17, "max '1_0' is not a number"),
    ('default="0"', 'max="0x100"', 17, "max 0x100 of type int8u is not in 0 to 255"),
    ('default="0"', 'writable="maybe"', 17, "writable 'maybe' is not true or false"),
    ('side="server" code="0x0000" ', "", 17, "<attribute> has no code"),
    ('code="0x0000"', 'code="zero"', 17, "code 'zero' is not a number"),
    ('code="0x0000"', 'code="-1"', 17, "code -1 is not in 0 to"),
    (' name="Plain"', "", 17, "<attribute> has no name"),
    (' type="int8u" default', " default", 17, "<attribute> has no type"),
    ('type="int8u" default', 'type="array" default', 17, "<attribute> has no entryType"),
    ('default="0"/>', '><access op="write" privilege="view"/></attribute>', 17, "not writable"),
    (
        'default="0"/>',
        '><access op="invoke" privilege="view"/></attribute>',
        17,
        "op invoke is not read or write",
    ),
    (
        'default="0"/>',
        '><access op="read" privilege="boss"/></attribute>',
        17,
        "'boss' is not one of",
    ),
    ('default="0"/>', '><access op="see" privilege="view"/></attribute>', 17, "op see is not"),
    (
        'default="0"/>',
        "><mandatoryConform/>\n<optionalConform/></attribute>",
        18,
        "states its conformance twice",
    ),
    (
        'default="0"/>',
        '><mandatoryConform><feature name="BB"/></mandatoryConform></attribute>',
        17,
        "conformance has unknown feature BB; known are: AA",
    ),
    ('default="0"/>', "><otherwiseConform/></attribute>", 17, "<otherwiseConform> is empty"),
    (
        'default="0"/>',
        "><mandatoryConform><orTerm/></mandatoryConform></attribute>",
        17,
        "<orTerm> is not a condition, or is empty",
    ),
    (
        '  <attribute side="server" code="0x0000"',
        "  <!--Conformance feature [AA - for now optional-->\n"
        '  <attribute side="server" optional="true" code="0x0000"',
        18,
        "conformance '[AA': ']' expected",
    ),
    ("<code>0x7001</code>", "", 11, "<cluster> has no <code>"),
    ("<code>0x7001</code>", "<code>many</code>", 11, "code 'many' is not a number"),
    ("<name>Test Cluster</name>", "<name/>", 11, "<cluster> has no <name>"),
    ('response="Answer"', 'response="Reply"', 19, "response Reply is not a command from the"),
    ('source="client"', 'source="us"', 19, "source 'us' is not one of client, server"),
    ('code="0x01" name="Answer"', 'name="Answer"', 20, "<command> has no code"),
    ('priority="info"', 'priority="high"', 21, "priority 'high' is not one of"),
    (
        '<item name="On" value="1"',
        '<item name="On" value="0"',
        5,
        "value 0x0 of enum ModeEnum is already defined at",
    ),
    (
        '<item name="On" value="1"',
        '<item name="Off" value="1"',
        5,
        "Off of enum ModeEnum is already defined at",
    ),
    (
        '<item name="On" value="1"',
        '<item name="On" value="256"',
        5,
        "value 256 is not in 0 to 0xff",
    ),
    ('type="enum8"', 'type="enum9"', 2, "unknown type enum9"),
    ('type="enum8"', 'type="char_string"', 2, "enum ModeEnum cannot be a char_string"),
    (
        'name="ModeEnum"',
        'name="InnerStruct"',
        7,
        "type InnerStruct of cluster 0x7001 is already defined at",
    ),
    ('name="Value" type="int8u"', 'name="Value" type="InnerStruct"', 7, "contains itself"),
    (
        'name="Value" type="int8u"/>',
        'name="Value" type="int8u"/>\n<item fieldId="0" name="More" type="int8u"/>',
        10,
        "field id 0 is already defined at",
    ),
    (
        'name="Value" type="int8u"/>',
        'name="Value" type="int8u"/>\n<item fieldId="1" name="Value" type="int8u"/>',
        10,
        "field value is already defined at",
    ),
    (
        '<feature bit="0" code="AA" name="First"/>',
        '<feature bit="0" code="AA" name="First"/>\n<feature bit="0" code="B" name="Second"/>',
        16,
        "feature bit 0 is already defined at",
    ),
    (
        '<feature bit="0" code="AA" name="First"/>',
        '<feature bit="0" code="AA" name="First"/>\n<feature bit="1" code="AA" name="Second"/>',
        16,
        "feature AA is already defined at",
    ),
    ('bit="0"', 'bit="32"', 15, "bit 32 is not in 0 to"),
    (
        "<event side",
        "<evnet side",
        21,
        "unknown element <evnet> in a cluster",
    ),
    ("<enum name", "<enumm name", 6, "mismatched tag"),
    ("<configurator>", '<!DOCTYPE x [<!ENTITY e "1">]>\n<configurator>', 1, "document types"),
]


@pytest.mark.parametrize(("old", "new", "line", "reason"), ERRORS)
def test_invalid_cluster_file_error_names_file_line_and_reason(
    tmp_path: Path, old: str, new: str, line: int, reason: str
) -> None:
    assert load(tmp_path, MINIMAL).name == "Test Cluster"
    assert old in MINIMAL
    with pytest.raises(ConfigError) as error:
        load(tmp_path, MINIMAL.replace(old, new, 1))
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'cluster.xml'}:{line}: ")
    assert any(part in message for part in reason.split("|")), message


def test_file_without_clusters_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.xml: cannot be read: No such file"):
        load_cluster_file(tmp_path / "nothing.xml")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: no XML files")):
        len(load_definitions(tmp_path))
    empty = tmp_path / "empty.xml"
    empty.write_text("")
    with pytest.raises(ConfigError, match=r"empty\.xml:1: no element found"):
        load_cluster_file(empty)
    empty.write_text("<configurator/>")
    with pytest.raises(ConfigError, match=r"empty\.xml: defines no cluster"):
        load_cluster_file(empty)
    empty.write_text("<zap/>")
    with pytest.raises(ConfigError, match=r"<zap> is not the <configurator> of a ZAP file"):
        load_cluster_file(empty)


def test_cluster_id_and_name_must_be_unique(tmp_path: Path) -> None:
    one = "<cluster><name>One</name><code>1</code></cluster>"
    file = tmp_path / "two.xml"
    file.write_text(f"<configurator>{one}\n{one}</configurator>")
    with pytest.raises(ConfigError, match=r":2: cluster 0x0001 is already defined at .*:1"):
        load_cluster_file(file)
    file.write_text(f"<configurator>{one}\n{one.replace('>1<', '>2<')}</configurator>")
    with pytest.raises(ConfigError, match=r":2: cluster One is already defined at .*:1"):
        load_cluster_file(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "Invalid|Expected"),
        ("Evse = 1", "Evse: 1 cannot be used: give a table"),
        ("[Evse]\nfixd = []", "Evse.fixd: no such key; known keys are changes_omitted, "),
        ("[Evse]\nfixed = 'State'", "Evse.fixed: 'State' cannot be used: give a list of names"),
        ("[Evse]\nfixed = [1]", "Evse.fixed: [1] cannot be used: give a list of names"),
        ("[Evse]\nconformance = []", "Evse.conformance: [] cannot be used: give a table"),
        (
            "[Evse.conformance]\nState = 1",
            "Evse.conformance: {'State': 1} cannot be used: give a table with a conf",
        ),
        (
            "[Evse.server_checks]\nAsk = 'x'",
            "Evse.server_checks: {'Ask': 'x'} cannot be used: give a table with a l",
        ),
    ],
)
def test_invalid_qualities_error_names_file_and_key(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "qualities.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_qualities(file)
    assert str(file) in str(error.value)
    assert any(part in str(error.value) for part in reason.split("|"))
