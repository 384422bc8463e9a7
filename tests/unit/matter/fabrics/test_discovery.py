import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.matter.fabrics.discovery import (
    CommissionableIdentity,
    commissionable_service,
    operational_instance,
    operational_service,
)
from evse_node.matter.messaging.session import SessionParameters

PARAMETERS = SessionParameters(500, 300, 4000)


def test_commissionable_service_has_all_keys_and_subtypes() -> None:
    service = commissionable_service(
        CommissionableIdentity(
            0xFFF1,
            0x8001,
            device_type=0x050C,
            device_name="Garage",
            pairing_hint=33,
            pairing_instruction="press",
        ),
        PARAMETERS,
        instance=bytes.fromhex("dd200c20d25ae5f7"),
        discriminator=840,
        commissioning_mode=1,
        port=11111,
    )
    assert service.type == "_matterc._udp"
    assert service.instance == "DD200C20D25AE5F7"
    assert service.port == 11111
    assert set(service.subtypes) == {"_S3", "_L840", "_CM", "_V65521", "_T1292"}
    assert service.txt == {
        "D": "840",
        "VP": "65521+32769",
        "CM": "1",
        "DT": "1292",
        "DN": "Garage",
        "PH": "33",
        "PI": "press",
        "SII": "500",
        "SAI": "300",
        "SAT": "4000",
    }


def test_commissionable_service_omits_optional_keys() -> None:
    service = commissionable_service(
        CommissionableIdentity(1, 2),
        PARAMETERS,
        instance=bytes(8),
        discriminator=0,
        commissioning_mode=2,
        port=5540,
    )
    assert service.instance == "0000000000000000"
    assert set(service.subtypes) == {"_S0", "_L0", "_CM", "_V1"}
    assert set(service.txt) == {"D", "VP", "CM", "SII", "SAI", "SAT"}
    assert service.txt["CM"] == "2"


def test_operational_service_has_instance_subtype_and_session_keys() -> None:
    service = operational_service(
        bytes.fromhex("2906c908d115d362"), 0x8FC7772401CD0696, PARAMETERS, 5540
    )
    assert service.type == "_matter._tcp"
    assert service.instance == "2906C908D115D362-8FC7772401CD0696"
    assert service.subtypes == ("_I2906C908D115D362",)
    assert service.txt == {"SII": "500", "SAI": "300", "SAT": "4000"}


@pytest.mark.parametrize(("node_id", "text"), [(1, "0" * 15 + "1"), (2**64 - 1, "F" * 16)])
def test_operational_instance_name_has_fixed_width(node_id: int, text: str) -> None:
    assert operational_instance(bytes(8), node_id) == f"{'0' * 16}-{text}"


def test_long_device_name_is_cut_at_a_character() -> None:
    service = commissionable_service(
        CommissionableIdentity(1, 2, device_name="x" * 31 + "\u00e4"),
        PARAMETERS,
        instance=bytes(8),
        discriminator=0,
        commissioning_mode=1,
        port=5540,
    )
    assert service.txt["DN"] == "x" * 31


@given(
    st.integers(0, 4095),
    st.text(max_size=60),
    st.text(max_size=200),
    st.integers(1, 3_600_000),
    st.integers(0, 65535),
)
def test_service_records_stay_within_dns_limits(
    discriminator: int, name: str, instruction: str, interval: int, threshold: int
) -> None:
    service = commissionable_service(
        CommissionableIdentity(65535, 65535, 0xFFFFFFFF, name, 0xFFFF, instruction),
        SessionParameters(interval, interval, threshold),
        instance=b"\xff" * 8,
        discriminator=discriminator,
        commissioning_mode=1,
        port=65535,
    )
    assert len(service.txt.get("DN", "").encode()) <= 32
    assert len(service.txt.get("PI", "").encode()) <= 128
    assert name.startswith(service.txt.get("DN", ""))
    for key in ("SII", "SAI", "SAT", "D"):
        assert re.fullmatch(r"0|[1-9][0-9]*", service.txt[key])
    for key, value in service.txt.items():
        assert len(f"{key}={value}".encode()) <= 255
