"""Codecs of all shipped attributes and commands, with random values."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evse_node.cluster.codec.codec import attribute_codec, command_codec
from evse_node.cluster.definitions.data_type import number_range
from evse_node.cluster.definitions.definition import (
    AttributeDefinition,
    FieldDefinition,
    Kind,
    Value,
    ValueType,
)
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import SignedInt, TlvValue, decode


def values(type_: ValueType) -> st.SearchStrategy[Value]:
    """Return a strategy for the valid values of a type."""
    kind = type_.kind
    made: st.SearchStrategy[Value]
    if kind is Kind.BOOLEAN:
        made = st.booleans()
    elif kind is Kind.FLOAT:
        made = st.floats(width=32 if type_.size == 4 else 64, allow_nan=False)
    elif kind is Kind.STRING:
        high = 40 if type_.max_length is None else min(40, type_.max_length)
        letters = st.characters(max_codepoint=126, exclude_characters="\x1f")
        made = st.text(letters, min_size=type_.min_length or 0, max_size=high)
    elif kind is Kind.OCTETS:
        high = type_.max_length if type_.max_length is not None else 40
        made = st.binary(min_size=type_.min_length or 0, max_size=high)
    elif kind is Kind.LIST:
        assert type_.entry is not None
        low = type_.min_length or 0
        high = max(low, min(3, 3 if type_.max_length is None else type_.max_length))
        made = st.lists(values(type_.entry), min_size=low, max_size=high)
    elif kind is Kind.STRUCT:
        assert type_.struct is not None
        made = fields(type_.struct.fields)
    elif type_.enum is not None:
        made = st.sampled_from(sorted(type_.enum.values.values()))
    elif type_.bitmap is not None:
        masks = sorted(type_.bitmap.fields.values())
        made = st.sets(st.sampled_from(masks)).map(sum) if masks else st.just(0)
    else:
        made = st.integers(*number_range(type_))
    return st.none() | made if type_.is_nullable else made


def fields(definitions: tuple[FieldDefinition, ...]) -> st.SearchStrategy[Value]:
    return st.fixed_dictionaries(
        {field.key: values(field.type) for field in definitions if not field.is_optional},
        optional={field.key: values(field.type) for field in definitions if field.is_optional},
    )


ATTRIBUTES: list[AttributeDefinition] = [
    attribute
    for cluster in load_definitions().values()
    for attribute in cluster.attributes.values()
]


def test_initial_values_are_valid_except_for_required_lists_and_strings() -> None:
    """Servers set those that must not be empty."""
    without = []
    for attribute in ATTRIBUTES:
        try:
            made = attribute_codec(attribute)
            made.decode(decode(made.encoded(attribute.initial_value())))
        except StatusError:
            without.append(attribute.name)
    assert sorted(set(without)) == [
        "Accuracy",
        "DeviceTypeList",
        "HardwareVersionString",
        "ManufacturingDate",
        "SoftwareVersionString",
        "SupportedModes",
        "SupportedWiFiBands",
        "TagList",
        "TimeZone",
    ]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_attribute_value_survives_encoding_and_decoding(data: st.DataObject) -> None:
    attribute = data.draw(st.sampled_from(ATTRIBUTES))
    value = data.draw(values(attribute.type))
    made = attribute_codec(attribute)
    assert made.decode(decode(made.encoded(value))) == value


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_command_fields_survive_encoding_and_decoding(data: st.DataObject) -> None:
    commands = [
        command
        for cluster in load_definitions().values()
        for command in (*cluster.commands.values(), *cluster.responses.values())
    ]
    command = data.draw(st.sampled_from(commands))
    value = data.draw(fields(command.fields))
    assert isinstance(value, dict)
    made = command_codec(command)
    assert made.decode(decode(made.encoded(value, None))) == value


tlv_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(SignedInt)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 20), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(ATTRIBUTES), tlv_values)
def test_arbitrary_tlv_decodes_or_raises_a_status(
    attribute: AttributeDefinition, value: TlvValue
) -> None:
    made = attribute_codec(attribute)
    rejected_with = None
    try:
        decoded = made.decode(value)
    except StatusError as error:
        rejected_with = error.status
    assert rejected_with in (None, Status.CONSTRAINT_ERROR, Status.INVALID_DATA_TYPE)
    if rejected_with is None:
        # A decoded value can be encoded and decoded again.
        assert made.decode(decode(made.encoded(decoded))) == decoded
