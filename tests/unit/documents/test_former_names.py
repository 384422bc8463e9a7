"""Names that the examples of version 0.1.0 import: each works and warns once."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest
from msgspec.structs import replace

from evse_node.charger import ChargerSettings
from evse_node.charger.hardware_monitor import MonitorSettings
from evse_node.config import NodeConfig, load_config


@pytest.mark.parametrize(
    ("former", "current", "names"),
    [
        (
            "evse_node.charger.watch",
            "evse_node.charger.hardware_monitor",
            {"WatchSettings": "MonitorSettings"},
        ),
        (
            "evse_node.hal.electric_car",
            "evse_node.hal.simulated.electric_vehicle",
            {"ElectricCar": "ElectricCar", "Habits": "Habits"},
        ),
        (
            "evse_node.hal.gpio.board_file",
            "evse_node.hal.gpio.board",
            {"load_board": "load_board", "board_names": "board_names"},
        ),
    ],
)
def test_former_module_warns_once_and_exports_its_names(
    former: str, current: str, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, former, raising=False)
    with pytest.warns(DeprecationWarning, match=current) as caught:
        module = importlib.import_module(former)
    assert len(caught) == 1
    for name, current_name in names.items():
        assert getattr(module, name) is getattr(importlib.import_module(current), current_name)


def test_former_memory_store_warns_once() -> None:
    store = importlib.import_module("evse_node.matter.store")
    current = importlib.import_module("evse_node.testing.memory_store")
    with pytest.warns(DeprecationWarning, match=r"use evse_node\.testing\.memory_store") as caught:
        assert store.MemoryStore is current.MemoryStore
    assert len(caught) == 1
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        _ = store.NoSuchName


def test_watch_of_charger_settings_is_accepted_with_one_warning() -> None:
    with pytest.warns(DeprecationWarning, match="use monitor") as caught:
        settings = ChargerSettings(watch=MonitorSettings(interval_s=60))
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert replace(settings) == ChargerSettings(monitor=MonitorSettings(interval_s=60))


def test_config_package_exports_load_config() -> None:
    assert isinstance(load_config({"storage": "state"}, {}), NodeConfig)
