import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter.messaging.status_report import (
    CLOSE_SESSION,
    NO_SHARED_TRUST_ROOTS,
    SESSION_ESTABLISHED,
    GeneralCode,
    Opcode,
    ProtocolCode,
    StatusReport,
    decode_status_report,
    encode_busy,
)

# (report, encoding): general code 2 bytes, protocol 4, protocol code 2, then data.
STATUS_REPORTS = [
    (StatusReport(GeneralCode.SUCCESS, 0), "0000 00000000 0000"),
    (StatusReport(GeneralCode.FAILURE, ProtocolCode.NO_SHARED_TRUST_ROOTS), "0100 00000000 0100"),
    (StatusReport(GeneralCode.FAILURE, ProtocolCode.INVALID_PARAMETER), "0100 00000000 0200"),
    (StatusReport(GeneralCode.SUCCESS, ProtocolCode.CLOSE_SESSION), "0000 00000000 0300"),
    (
        StatusReport(GeneralCode.BUSY, ProtocolCode.BUSY, protocol_data=b"\xf4\x01"),
        "0800 00000000 0400 f401",
    ),
    (
        StatusReport(GeneralCode.DATA_LOSS, 0xABCD, 0xFFF10004, b"\x01\x02\x03"),
        "1000 0400f1ff cdab 010203",
    ),
]


@pytest.mark.parametrize(("report", "encoded"), STATUS_REPORTS)
def test_status_report_encodes_and_decodes(report: StatusReport, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert report.encode() == data
    assert decode_status_report(data) == report


@pytest.mark.parametrize(("report", "encoded"), STATUS_REPORTS)
def test_truncated_status_report_is_rejected(report: StatusReport, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for length in range(8):
        with pytest.raises(DecodeError):
            decode_status_report(data[:length])


@pytest.mark.parametrize(
    "encoded",
    [
        "1100 00000000 0000",  # general code 17
        "ffff 00000000 0000",
        "0800 00000000 0400 01",  # half a waiting time
        "0800 00000000 0400 010203",
    ],
)
def test_malformed_status_report_is_rejected(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode_status_report(bytes.fromhex(encoded))


def test_busy_report_carries_waiting_time() -> None:
    assert decode_status_report(encode_busy(500)).protocol_data == b"\xf4\x01"
    assert decode_status_report(encode_busy(1_000_000)).protocol_data == b"\xff\xff"
    assert decode_status_report(bytes.fromhex("0800000000000400")).protocol_data == b""


def test_status_report_properties_depend_on_protocol_and_codes() -> None:
    assert decode_status_report(SESSION_ESTABLISHED).is_success
    assert not decode_status_report(SESSION_ESTABLISHED).is_close_session
    assert decode_status_report(CLOSE_SESSION).is_close_session
    assert not decode_status_report(CLOSE_SESSION).is_success
    assert decode_status_report(NO_SHARED_TRUST_ROOTS).protocol_code == 1
    # The codes of another protocol mean nothing here.
    foreign = StatusReport(GeneralCode.SUCCESS, 0, protocol_id=1)
    assert not foreign.is_success
    assert not StatusReport(GeneralCode.SUCCESS, 3, protocol_id=1).is_close_session


def test_opcodes_match_specification() -> None:
    assert (Opcode.PBKDF_PARAM_REQUEST, Opcode.PASE_PAKE3) == (0x20, 0x24)
    assert (Opcode.CASE_SIGMA1, Opcode.CASE_SIGMA2_RESUME) == (0x30, 0x33)
    assert Opcode.STATUS_REPORT == 0x40


@given(st.binary(max_size=40))
def test_status_report_decoder_raises_only_decode_error(data: bytes) -> None:
    try:
        report = decode_status_report(data)
    except DecodeError:
        return
    assert report.encode() == data
