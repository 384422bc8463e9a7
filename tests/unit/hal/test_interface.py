"""Former public names of the hardware interface."""

from __future__ import annotations

import importlib
import warnings

import pytest
from msgspec.structs import replace

from evse_node.hal import interface as hal
from evse_node.testing import backend_contract
from evse_node.units import MilliwattHours, Milliwatts

VALUES = hal.MeterValues(MilliwattHours(1), MilliwattHours(0), Milliwatts(0), (), (), 50_000)


def test_frequency_mhz_of_meter_values_is_accepted_with_one_warning() -> None:
    with pytest.warns(DeprecationWarning, match="use frequency_millihertz") as caught:
        values = hal.MeterValues(
            MilliwattHours(1), MilliwattHours(0), Milliwatts(0), (), (), frequency_mhz=50_000
        )
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values == VALUES
        assert replace(values, power_mw=Milliwatts(0)) == VALUES
        assert "frequency_mhz" not in repr(values)


def test_hal_contract_warns_and_exports_backend_contract() -> None:
    with pytest.warns(DeprecationWarning, match=r"import evse_node\.testing\.backend_contract"):
        former = importlib.import_module("evse_node.hal.contract")
    assert former.CHECKS is backend_contract.CHECKS
    assert former.run_check is backend_contract.run_check


@pytest.mark.parametrize(
    ("former", "current"),
    [
        ("PilotReported", hal.PilotChanged),
        ("ContactorFeedback", hal.ContactorReported),
        ("CableReported", hal.CableChanged),
        ("FaultDetected", hal.FaultRaised),
        ("FaultGone", hal.FaultCleared),
        ("CardPresented", hal.RfidTapped),
        ("BatteryRead", hal.BatteryReported),
        ("VehicleIdRead", hal.VehicleIdentified),
    ],
)
def test_former_event_name_is_same_type(former: str, current: type) -> None:
    assert getattr(hal, former) is current
