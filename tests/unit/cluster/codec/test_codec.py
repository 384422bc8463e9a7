"""Codecs of a sample cluster: encoding, accepted and rejected values of each type."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from evse_node.cluster.codec.codec import Codec, attribute_codec, command_codec, event_codec
from evse_node.cluster.definitions.definition import (
    AttributeDefinition,
    ClusterDefinition,
    CommandDefinition,
    Value,
)
from evse_node.cluster.definitions.zap import load_cluster_file, load_definitions
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import Float32, SignedInt, TlvList, TlvValue, Writer, decode

XML = """<configurator>
<enum name="ModeEnum" type="enum8"><cluster code="1"/>
  <item name="Off" value="0"/><item name="On" value="5"/></enum>
<bitmap name="DayBitmap" type="bitmap16"><cluster code="1"/>
  <field name="Sunday" mask="0x01"/><field name="Never" mask="0x100"/></bitmap>
<struct name="InnerStruct"><cluster code="1"/>
  <item fieldId="0" name="Level" type="int8u" max="10"/>
  <item fieldId="7" name="Extra" type="char_string" length="4" optional="true"/></struct>
<struct name="ScopedStruct" isFabricScoped="true"><cluster code="1"/>
  <item fieldId="1" name="Secret" type="octet_string" length="4" isFabricSensitive="true"/>
  <item fieldId="2" name="Public" type="InnerStruct" isNullable="true" optional="true"/></struct>
<cluster><name>Test</name><code>1</code>
  <attribute code="0" name="Byte" type="int8u"/>
  <attribute code="1" name="Ranged" type="int16u" min="10" max="1000"/>
  <attribute code="2" name="NullableByte" type="int8u" isNullable="true"/>
  <attribute code="3" name="Energy" type="energy_mwh" min="-5"/>
  <attribute code="4" name="NullableShort" type="int16s" isNullable="true"/>
  <attribute code="5" name="Mode" type="ModeEnum"/>
  <attribute code="6" name="NullableMode" type="ModeEnum" isNullable="true"/>
  <attribute code="7" name="AnyMode" type="enum8"/>
  <attribute code="8" name="Days" type="DayBitmap"/>
  <attribute code="9" name="AnyBits" type="bitmap8"/>
  <attribute code="10" name="Flag" type="boolean"/>
  <attribute code="11" name="NullableFlag" type="boolean" isNullable="true"/>
  <attribute code="12" name="Single" type="single"/>
  <attribute code="13" name="Double" type="double"/>
  <attribute code="14" name="Text" type="char_string" minLength="2" length="5"/>
  <attribute code="15" name="AnyText" type="char_string"/>
  <attribute code="16" name="Octets" type="octet_string" minLength="2" length="3"/>
  <attribute code="17" name="Address" type="ipv4adr"/>
  <attribute code="18" name="Numbers" type="array" entryType="int8u" minLength="1" length="3"/>
  <attribute code="19" name="Names" type="array" entryType="char_string" isNullable="true"/>
  <attribute code="20" name="Inner" type="InnerStruct"/>
  <attribute code="21" name="Scoped" type="array" entryType="ScopedStruct"/>
  <attribute code="22" name="Percent" type="percent" isNullable="true"/>
  <attribute code="23" name="Wide" type="int64u"/>
  <command source="client" code="0" name="Ask">
    <arg name="Level" type="int8u" max="10"/>
    <arg name="Entries" type="InnerStruct" array="true" length="2"/>
    <arg name="Mode" type="ModeEnum" optional="true"/>
    <arg name="Days" type="DayBitmap" optional="true" isNullable="true"/>
    <arg name="Text" type="char_string" length="2" optional="true"/></command>
  <command source="client" code="1" name="Plain"/>
  <event side="server" code="0" name="Happened" priority="info" isFabricSensitive="true">
    <field id="3" name="Level" type="int8u"/></event>
  <event side="server" code="1" name="Nothing" priority="info"/>
</cluster></configurator>"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> ClusterDefinition:
    file: Path = tmp_path_factory.mktemp("xml") / "test.xml"
    file.write_text(XML)
    return load_cluster_file(file)[0]


def codec(cluster: ClusterDefinition, name: str) -> Codec:
    return attribute_codec(cluster.attribute(name))


# attribute, value, TLV as anonymous element
VECTORS: list[tuple[str, Value, str]] = [
    ("Byte", 0, "0400"),
    ("Byte", 255, "04ff"),
    ("Ranged", 10, "040a"),
    ("Ranged", 1000, "05e803"),
    ("NullableByte", 254, "04fe"),
    ("NullableByte", None, "14"),
    ("Energy", -5, "00fb"),
    ("Energy", 25_000_000, "0240787d01"),
    ("Energy", 2**63 - 1, "03ffffffffffffff7f"),
    ("NullableShort", -32767, "010180"),
    ("NullableShort", None, "14"),
    ("Mode", 5, "0405"),
    ("NullableMode", None, "14"),
    ("AnyMode", 77, "044d"),
    ("Days", 0x101, "050101"),
    ("AnyBits", 0xFF, "04ff"),
    ("Flag", True, "09"),
    ("Flag", False, "08"),
    ("NullableFlag", None, "14"),
    ("Single", 17.5, "0a00008c41"),
    ("Double", 17.9, "0b6666666666e63140"),
    ("Text", "Hällo"[:4], "0c0548c3a46c6c"),
    ("AnyText", "", "0c00"),
    ("Octets", b"\x01\x02", "10020102"),
    ("Address", b"\x7f\x00\x00\x01", "10047f000001"),
    ("Numbers", [1, 2], "160401040218"),
    ("Names", [], "1618"),
    ("Names", ["a"], "160c016118"),
    ("Names", None, "14"),
    ("Inner", {"level": 3}, "1524000318"),
    ("Inner", {"level": 3, "extra": "x"}, "152400032c07017818"),
    ("Percent", 100, "0464"),
    ("Wide", 2**64 - 1, "07ffffffffffffffff"),
]


@pytest.mark.parametrize(("name", "value", "encoded"), VECTORS)
def test_value_encodes_to_and_decodes_from_its_vector(
    cluster: ClusterDefinition, name: str, value: Value, encoded: str
) -> None:
    made = codec(cluster, name)
    assert made.encoded(value).hex() == encoded
    assert made.decode(decode(bytes.fromhex(encoded))) == value


def test_encoded_value_has_its_tag(cluster: ClusterDefinition) -> None:
    assert codec(cluster, "Byte").encoded(1, 2).hex() == "240201"
    assert codec(cluster, "NullableByte").encoded(None, 2).hex() == "3402"
    assert codec(cluster, "Numbers").encoded([1], 2).hex() == "3602040118"
    assert codec(cluster, "Inner").encoded({"level": 1}, 2).hex() == "350224000118"


def test_decoded_numbers_are_plain_int_and_float(cluster: ClusterDefinition) -> None:
    assert type(codec(cluster, "Energy").decode(SignedInt(3))) is int
    assert type(codec(cluster, "Single").decode(Float32(0.5))) is float
    assert codec(cluster, "Single").decode(0.5) == 0.5
    assert codec(cluster, "Double").decode(Float32(0.5)) == 0.5


MALFORMED: list[tuple[str, TlvValue]] = [
    ("Byte", SignedInt(1)),
    ("Byte", True),
    ("Byte", "1"),
    ("Byte", 1.0),
    ("Byte", None),
    ("Byte", [1]),
    ("NullableByte", SignedInt(1)),
    ("Energy", 1),
    ("Energy", True),
    ("Mode", SignedInt(5)),
    ("Mode", None),
    ("Days", SignedInt(1)),
    ("Days", b"\x01"),
    ("Flag", 1),
    ("Flag", None),
    ("Single", 1),
    ("Single", SignedInt(1)),
    ("Double", None),
    ("Text", b"abc"),
    ("Text", None),
    ("Octets", "abc"),
    ("Numbers", {0: 1}),
    ("Numbers", TlvList()),
    ("Numbers", [1, SignedInt(1)]),
    ("Numbers", [None]),
    ("Numbers", None),
    ("Inner", [1]),
    ("Inner", {}),
    ("Inner", {7: "x"}),
    ("Inner", {0: 1, 7: None}),
    ("Inner", {0: None}),
    ("Inner", TlvList([(0, 1)])),
]
CONSTRAINTS: list[tuple[str, TlvValue]] = [
    ("Byte", 256),
    ("Ranged", 9),
    ("Ranged", 1001),
    ("NullableByte", 255),
    ("Energy", SignedInt(-6)),
    ("NullableShort", SignedInt(-32768)),
    ("NullableShort", SignedInt(32768)),
    ("Mode", 1),
    ("Mode", 255),
    ("AnyMode", 256),
    ("Days", 0x2),
    ("Days", 0x10000),
    ("AnyBits", 0x100),
    ("Text", "a"),
    ("Text", "abcdef"),
    ("Text", "ääää"),
    ("Text", "a\x1fbcd"),
    ("Octets", b"a"),
    ("Octets", b"abcd"),
    ("Address", b"abc"),
    ("Numbers", []),
    ("Numbers", [1, 2, 3, 4]),
    ("Numbers", [256]),
    ("Inner", {0: 11}),
    ("Inner", {0: 1, 7: "abcde"}),
    ("Percent", 101),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_wrong_tlv_type_is_invalid_data_type(
    cluster: ClusterDefinition, name: str, value: TlvValue
) -> None:
    with pytest.raises(StatusError) as error:
        codec(cluster, name).decode(value)
    assert error.value.status is Status.INVALID_DATA_TYPE


@pytest.mark.parametrize(("name", "value"), CONSTRAINTS)
def test_violated_constraint_is_a_constraint_error(
    cluster: ClusterDefinition, name: str, value: TlvValue
) -> None:
    with pytest.raises(StatusError) as error:
        codec(cluster, name).decode(value)
    assert error.value.status is Status.CONSTRAINT_ERROR
    assert error.value.reason


def test_string_ends_at_the_translation_separator(cluster: ClusterDefinition) -> None:
    assert codec(cluster, "Text").decode("abc\x1f0a1b2c3d4e") == "abc"


def test_unknown_fields_are_ignored(cluster: ClusterDefinition) -> None:
    decoded = codec(cluster, "Inner").decode({0: 1, 99: "future", 254: 3})
    assert decoded == {"level": 1}


def test_error_reason_names_the_path_of_fields(cluster: ClusterDefinition) -> None:
    with pytest.raises(StatusError) as error:
        codec(cluster, "Scoped").decode([{1: b"", 2: {0: 11}}])
    assert error.value.reason == "public: level: 11 is not in 0 to 10"


def test_fabric_scoped_struct_has_index_and_redacted_form(cluster: ClusterDefinition) -> None:
    scoped = codec(cluster, "Scoped")
    value: Value = [{"secret": b"ab", "public": {"level": 1}, "fabric_index": 3}]
    assert scoped.encoded(value).hex() == "1615300102616235022400011824fe031818"
    # The index in a request is ignored.
    assert scoped.decode([{1: b"ab", 254: 9}]) == [{"secret": b"ab"}]
    assert scoped.encoded([{"secret": b"ab"}]).hex() == "16153001026162" + "1818"

    writer = Writer()
    scoped.redacted(writer, None, value)
    assert writer.getvalue().hex() == "161535022400011824fe031818"
    assert scoped.entry is not None
    writer = Writer()
    scoped.entry.redacted(writer, None, {"secret": b"ab", "fabric_index": 2})
    assert writer.getvalue().hex() == "1524fe0218"
    # Without sensitive fields the encoder is the same.
    inner = codec(cluster, "Inner")
    assert inner.redacted is inner.encode


def test_encoding_an_invalid_value_raises(cluster: ClusterDefinition) -> None:
    for name, value in [
        ("Byte", None),
        ("Byte", "1"),
        ("Energy", None),
        ("Flag", None),
        ("Flag", 1),
        ("Text", 1),
        ("Octets", 1),
        ("Numbers", 1),
        ("Numbers", [None]),
        ("Inner", {}),
        ("Inner", {"level": 1, "levle": 2}),
    ]:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            codec(cluster, name).encoded(value)
    with pytest.raises(ValueError, match="InnerStruct has no levle"):
        codec(cluster, "Inner").encoded({"level": 1, "levle": 2})
    with pytest.raises(ValueError, match="InnerStruct lacks level"):
        codec(cluster, "Inner").encoded({"extra": "x"})
    # An optional field that is None is absent.
    assert codec(cluster, "Inner").encoded({"level": 1, "extra": None}).hex() == "1524000118"


def ask(cluster: ClusterDefinition) -> CommandDefinition:
    return cluster.command("Ask")


def test_command_fields_encode_and_decode(cluster: ClusterDefinition) -> None:
    fields = command_codec(ask(cluster))
    value: dict[str, Value] = {"level": 1, "entries": [{"level": 2}], "days": None}
    encoded = fields.encoded(value, 1)
    assert encoded.hex() == "35012400013601152400021818" + "3403" + "18"
    assert fields.decode({0: 1, 1: [{0: 2}], 3: None, 77: True}) == value
    plain = command_codec(cluster.command("Plain"))
    assert plain.decode(None) == {}
    assert plain.decode({}) == {}
    assert plain.decode({5: 1}) == {}
    assert plain.encoded({}).hex() == "1518"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, Status.INVALID_COMMAND),
        ([], Status.INVALID_COMMAND),
        ({0: 1}, Status.INVALID_COMMAND),
        ({0: SignedInt(1), 1: []}, Status.INVALID_COMMAND),
        ({0: None, 1: []}, Status.INVALID_COMMAND),
        ({0: 1, 1: [{}]}, Status.INVALID_COMMAND),
        ({0: 11, 1: []}, Status.CONSTRAINT_ERROR),
        ({0: 1, 1: [{0: 11}]}, Status.CONSTRAINT_ERROR),
        ({0: 1, 1: [{0: 1}] * 3}, Status.CONSTRAINT_ERROR),
        ({0: 1, 1: [], 2: 4}, Status.CONSTRAINT_ERROR),
        ({0: 1, 1: [], 3: 4}, Status.CONSTRAINT_ERROR),
        ({0: 1, 1: [], 4: "abc"}, Status.CONSTRAINT_ERROR),
    ],
)
def test_invalid_command_fields_have_their_status(
    cluster: ClusterDefinition, value: TlvValue, status: Status
) -> None:
    with pytest.raises(StatusError) as error:
        command_codec(ask(cluster)).decode(value)
    assert error.value.status is status


def test_unchecked_fields_skip_only_their_own_constraints(cluster: ClusterDefinition) -> None:
    def decode_with(unchecked: set[str], value: TlvValue) -> dict[str, Value]:
        return command_codec(ask(cluster), frozenset(unchecked)).decode(value)

    three: TlvValue = {0: 1, 1: [{0: 1}] * 3}
    assert len(decode_with({"Entries"}, three)["entries"]) == 3  # type: ignore[arg-type]
    assert decode_with({"Level"}, {0: 255, 1: []})["level"] == 255
    assert decode_with({"Mode"}, {0: 1, 1: [], 2: 4})["mode"] == 4
    assert decode_with({"Days"}, {0: 1, 1: [], 3: 4})["days"] == 4
    assert decode_with({"Text"}, {0: 1, 1: [], 4: "abc"})["text"] == "abc"
    deep: TlvValue = {0: 1, 1: [{0: 11}]}
    assert decode_with({"Entries.Level"}, deep)["entries"] == [{"level": 11}]
    # Content, types and widths are still checked.
    cases: list[tuple[set[str], TlvValue, Status]] = [
        ({"Entries"}, deep, Status.CONSTRAINT_ERROR),
        ({"Entries.Level"}, three, Status.CONSTRAINT_ERROR),
        ({"Entries"}, {0: 1, 1: {}}, Status.INVALID_COMMAND),
        ({"Level"}, {0: 256, 1: []}, Status.CONSTRAINT_ERROR),
        ({"Mode"}, {0: 1, 1: [], 2: SignedInt(4)}, Status.INVALID_COMMAND),
    ]
    for unchecked, value, status in cases:
        with pytest.raises(StatusError) as error:
            decode_with(unchecked, value)
        assert error.value.status is status
    by_definition = CommandDefinition(
        0, "Ask", "ask", ask(cluster).fields, unchecked=frozenset({"Level"})
    )
    assert command_codec(by_definition).decode({0: 200, 1: []})["level"] == 200


def test_set_targets_decodes_more_targets_than_allowed() -> None:
    """The server itself rejects 11 targets, with RESOURCE_EXHAUSTED."""
    set_targets = command_codec(load_definitions()["Energy EVSE"].command("SetTargets"))
    targets: list[TlvValue] = [{0: 60, 2: SignedInt(25_000)}]
    schedules = set_targets.decode({0: [{0: 1, 1: targets * 11}] * 8})["charging_target_schedules"]
    assert isinstance(schedules, list)
    assert len(schedules) == 8
    assert schedules[0] == {
        "day_of_week_for_sequence": 1,
        "charging_targets": [{"target_time_minutes_past_midnight": 60, "added_energy": 25_000}]
        * 11,
    }
    wrong: list[TlvValue] = [{0: 1440}, {0: 60, 1: 101}, {0: 60, 2: SignedInt(-1)}]
    for target in wrong:
        with pytest.raises(StatusError) as error:
            set_targets.decode({0: [{0: 1, 1: [target]}]})
        assert error.value.status is Status.CONSTRAINT_ERROR
    with pytest.raises(StatusError) as error:
        set_targets.decode({0: [{0: 0x80, 1: []}]})
    assert error.value.status is Status.CONSTRAINT_ERROR


def test_event_fields_encode_with_fabric_index(cluster: ClusterDefinition) -> None:
    happened = event_codec(cluster.event("Happened"))
    assert happened.encoded({"level": 1, "fabric_index": 2}, 7).hex() == "350724030124fe0218"
    assert event_codec(cluster.event("Nothing")).encoded({}, 7).hex() == "350718"
    with pytest.raises(ValueError, match="Nothing has no level"):
        event_codec(cluster.event("Nothing")).encoded({"level": 1})


def test_codecs_are_compiled_once(cluster: ClusterDefinition) -> None:
    assert codec(cluster, "Inner") is codec(cluster, "Inner")
    assert command_codec(ask(cluster)) is command_codec(ask(cluster))


def test_floats_encode_infinity_and_null(cluster: ClusterDefinition) -> None:
    assert codec(cluster, "Double").encoded(math.inf).hex() == "0b000000000000f07f"
    nullable = replace(cluster.attribute("Double").type, is_nullable=True)
    attribute = AttributeDefinition(0, "D", "d", nullable)
    assert attribute_codec(attribute).encoded(None).hex() == "14"
