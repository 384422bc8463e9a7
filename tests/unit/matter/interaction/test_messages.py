from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter.interaction.encoding import (
    attribute_path_ib,
    attribute_status_ib,
    attribute_status_report,
    command_data_response,
    command_path_ib,
    command_status_response,
    encode_status_response,
    encode_subscribe_response,
    event_path_ib,
    event_status_report,
    message_end,
)
from evse_node.matter.interaction.messages import (
    AttributeRequest,
    CommandItem,
    DataVersionFilter,
    EventRequest,
    WriteItem,
    decode_invoke_request,
    decode_read_request,
    decode_status_response,
    decode_subscribe_request,
    decode_timed_request,
    decode_write_request,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvList, decode, decode_element, encode
from tests.support.matter.interaction_client import (
    Invoke,
    Write,
    invoke_request,
    read_request,
    subscribe_request,
    write_request,
)

DECODERS: list[Callable[[bytes], object]] = [
    decode_read_request,
    decode_subscribe_request,
    decode_write_request,
    decode_invoke_request,
    decode_timed_request,
    decode_status_response,
]

# One request of each kind, byte by byte.
READ = bytes.fromhex(
    "15"
    "36 00 17 24 02 01 25 03 99 00 24 04 05 18 17 18 18"
    "36 01 17 24 01 01 24 02 99 29 04 18 18"
    "36 02 15 24 01 0a 18 18"
    "29 03"
    "36 04 15 37 00 24 01 01 24 02 1d 18 26 01 78 56 34 12 18 18"
    "24 ff 0b 18"
)
SUBSCRIBE = bytes.fromhex("15 28 00 24 01 03 25 02 15 0e 36 03 17 18 18 29 07 24 ff 0b 18")
WRITE = bytes.fromhex(
    "15 28 00 29 01"
    "36 02"
    "15 26 00 01 00 00 00 37 01 24 02 01 24 03 28 24 04 05 18 2c 02 02 68 69 18"
    "15 37 01 24 02 00 24 03 1f 24 04 00 34 05 18 35 02 24 01 05 18 18"
    "18 28 03 24 ff 0b 18"
)
INVOKE = bytes.fromhex(
    "15 28 00 29 01 36 02 15 37 00 24 00 01 25 01 99 00 24 02 02 18 35 01 34 00 18 24 02 07 18 18"
    "24 ff 0b 18"
)


def test_read_request_is_decoded() -> None:
    request = decode_read_request(READ)
    assert list(request.attributes) == [
        AttributeRequest(1, 0x99, 5),
        AttributeRequest(None, None, None),
    ]
    assert list(request.events) == [EventRequest(1, 0x99, None, is_urgent=True)]
    assert request.event_minimum == 10
    assert request.fabric_filtered is True
    assert list(request.data_versions) == [DataVersionFilter(1, 0x1D, 0x12345678)]


def test_subscribe_request_is_decoded() -> None:
    request = decode_subscribe_request(SUBSCRIBE)
    assert request.keep_subscriptions is False
    assert (request.minimum_interval_s, request.maximum_interval_s) == (3, 3605)
    assert list(request.read.attributes) == [AttributeRequest(None, None, None)]


def test_write_request_is_decoded() -> None:
    request = decode_write_request(WRITE)
    assert request.is_timed
    assert not request.suppress_response
    assert not request.more_chunks
    assert request.items == [
        WriteItem(1, 0x28, 5, "hi", data_version=1),
        WriteItem(0, 0x1F, 0, {1: 5}, is_append=True),
    ]


def test_invoke_request_is_decoded() -> None:
    request = decode_invoke_request(INVOKE)
    assert request.is_timed
    assert request.items == [CommandItem(1, 0x99, 2, {0: None}, reference=7)]


@pytest.mark.parametrize(
    ("decoder", "payload"),
    [
        (decode_read_request, READ),
        (decode_subscribe_request, SUBSCRIBE),
        (decode_write_request, WRITE),
        (decode_invoke_request, INVOKE),
    ],
)
def test_truncated_request_raises_decode_error(
    decoder: Callable[[bytes], object], payload: bytes
) -> None:
    for length in range(len(payload)):
        with pytest.raises(DecodeError):
            decoder(payload[:length])


def test_unknown_members_are_ignored() -> None:
    payload = encode({3: False, 99: "new", 0: [TlvList([(2, 1), (9, 7)])], 0xFF: 13})
    request = decode_read_request(payload)
    assert list(request.attributes) == [AttributeRequest(1, None, None)]
    assert request.fabric_filtered is False


def test_highest_event_filter_applies() -> None:
    request = decode_read_request(encode({2: [{1: 5}, {0: 1, 1: 9}, {1: 3}], 3: True}))
    assert request.event_minimum == 9


@given(st.binary(max_size=64))
def test_arbitrary_bytes_decode_or_raise_decode_error(payload: bytes) -> None:
    for decoder in DECODERS:
        with suppress(DecodeError):
            decoder(payload)


tlv_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 9), inner, max_size=5)
        | st.lists(st.tuples(st.none() | st.integers(0, 6), inner), max_size=5).map(TlvList)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.integers(0, 9), tlv_values, max_size=7))
def test_arbitrary_structure_decodes_or_raises_decode_error(members: dict[int, object]) -> None:
    payload = encode(members)  # type: ignore[arg-type]
    for decoder in DECODERS:
        with suppress(DecodeError):
            decoder(payload)


uint16 = st.integers(0, 0xFFFF)
endpoints = st.none() | uint16
ids = st.integers(0, 0xFFFFFFFF)


@given(st.lists(st.tuples(endpoints, ids, st.none() | ids), max_size=5), st.booleans())
def test_read_and_subscribe_requests_round_trip(
    paths: list[tuple[int | None, int, int | None]], filtered: bool
) -> None:
    read = decode_read_request(read_request(*paths, events=paths, fabric_filtered=filtered))
    assert list(read.attributes) == paths
    assert [event[:3] for event in read.events] == paths
    assert read.fabric_filtered is filtered
    subscribe = decode_subscribe_request(subscribe_request(*paths, urgent=paths, minimum=2))
    assert list(subscribe.read.attributes) == paths
    assert all(event.is_urgent for event in subscribe.read.events)


@given(st.lists(st.tuples(st.tuples(uint16, ids, ids), tlv_values), max_size=4))
def test_write_and_invoke_requests_round_trip(
    items: list[tuple[tuple[int, int, int], object]],
) -> None:
    write = decode_write_request(
        write_request(*[Write(path, data) for path, data in items])  # type: ignore[arg-type]
    )
    assert [(item[:3], item.data) for item in write.items] == items
    invoke = decode_invoke_request(invoke_request(*[Invoke(path) for path, _ in items]))
    assert [item[:3] for item in invoke.items] == [path for path, _ in items]


class TestAnswers:
    def test_status_response_is_encoded(self) -> None:
        payload = encode_status_response(Status.INVALID_ACTION) + message_end(11)
        assert payload == bytes.fromhex("15 24 00 80 24 ff 0b 18")
        assert decode_status_response(payload) == Status.INVALID_ACTION

    def test_subscribe_response_is_encoded(self) -> None:
        payload = encode_subscribe_response(0x12345678, 3600) + message_end(11)
        assert decode(payload) == {0: 0x12345678, 2: 3600, 0xFF: 11}

    def test_attribute_path_is_encoded(self) -> None:
        tag, value, _ = decode_element(attribute_path_ib(1, 1, 0xFFF1FC01, 5), 0)
        assert (tag, value) == (1, [(2, 1), (3, 0xFFF1FC01), (4, 5)])

    def test_event_and_command_paths_are_encoded(self) -> None:
        assert decode_element(event_path_ib(1, 2, 3), 0)[1] == [(1, 1), (2, 2), (3, 3)]
        assert decode_element(command_path_ib(1, 2, 3), 0)[1] == [(0, 1), (1, 2), (2, 3)]

    def test_attribute_status_is_encoded(self) -> None:
        path = TlvList([(2, 1), (3, 2), (4, 3)])
        assert decode(attribute_status_ib(1, 2, 3, 0x87)) == {0: path, 1: {0: 0x87}}
        assert decode(attribute_status_ib(1, 2, 3, 1, 4)) == {0: path, 1: {0: 1, 1: 4}}
        assert decode(attribute_status_report(1, 2, 3, 0x86)) == {0: {0: path, 1: {0: 0x86}}}

    def test_status_of_an_appended_item_has_a_null_list_index(self) -> None:
        path = TlvList([(2, 1), (3, 2), (4, 3), (5, None)])
        assert decode(attribute_status_ib(1, 2, 3, 0, is_append=True)) == {0: path, 1: {0: 0}}

    def test_event_status_is_encoded(self) -> None:
        path = TlvList([(1, 1), (2, 2), (3, 3)])
        assert decode(event_status_report(1, 2, 3, 0xC7)) == {0: {0: path, 1: {0: 0xC7}}}

    def test_command_responses_are_encoded(self) -> None:
        path = TlvList([(0, 1), (1, 2), (2, 3)])
        fields = encode({0: 5}, 1)
        assert decode(command_data_response(1, 2, 3, fields, None)) == {0: {0: path, 1: {0: 5}}}
        assert decode(command_data_response(1, 2, 3, fields, 9)) == {0: {0: path, 1: {0: 5}, 2: 9}}
        assert decode(command_status_response(1, 2, 3, 1, 4, 0)) == {
            1: {0: path, 1: {0: 1, 1: 4}, 2: 0}
        }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.INVALID_SUBSCRIPTION, 0x7D),
        (Status.UNSUPPORTED_ACCESS, 0x7E),
        (Status.INVALID_ACTION, 0x80),
        (Status.CONSTRAINT_ERROR, 0x87),
        (Status.NEEDS_TIMED_INTERACTION, 0xC6),
        (Status.PATHS_EXHAUSTED, 0xC8),
        (Status.NO_COMMAND_RESPONSE, 0xCC),
    ],
)
def test_status_code_matches_specification(status: Status, code: int) -> None:
    assert status == code
    assert encode_status_response(status)[3] == code
