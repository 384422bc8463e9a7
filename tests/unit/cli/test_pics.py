from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evse_node.cli import main as cli
from evse_node.cli.pics import pics_text
from evse_node.config.node_config import NodeConfig
from evse_node.errors import ConfigError


def pics(endpoint: int | None = None, **settings: object) -> dict[str, bool]:
    config = NodeConfig(storage=Path("unused"), interfaces=("lo",), **settings)  # type: ignore[arg-type]
    items: dict[str, bool] = {}
    for line in pics_text(config, endpoint).splitlines():
        key, value = line.split("=")
        assert key not in items
        items[key] = {"0": False, "1": True}[value]
    return items


def test_items_are_those_of_clusters_of_charger() -> None:
    items = pics()
    for key in ("EEVSE.S", "EEVSE.S.A0000", "EEVSE.S.C01.Rsp", "EEVSE.S.C00.Tx", "EEVSE.S.E00"):
        assert items[key]
    assert items["EEVSE.S.F00"]
    assert items["CADMIN.S.C01.Rsp"]
    assert items["MCORE.COM.ETH"]
    assert not items["MCORE.COM.WIFI"]
    assert items["MCORE.SC.DT_KEY"]
    assert not items["MCORE.SC.RI_KEY"]


def test_global_attributes_have_no_items() -> None:
    assert not [key for key in pics() if ".S.Af" in key]


def test_items_depend_on_features() -> None:
    items = pics(features="none")
    assert items["EEVSE.S"]
    for key in ("EEVSE.S.F00", "EEVSE.S.A0023", "EEVSE.S.C05.Rsp", "EEVSE.S.C00.Tx"):
        assert items[key] is False


def test_endpoint_limits_items() -> None:
    root, charger = pics(0), pics(1)
    assert root["BINFO.S"]
    assert not root["EEVSE.S"]
    assert "EEVSE.S.A0000" not in root
    assert charger["EEVSE.S.A0000"]
    assert not charger["BINFO.S"]


def test_storage_is_not_created() -> None:
    pics()
    assert not Path("unused").exists()


def test_unknown_endpoint_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"give one of 0, 1"):
        pics(9)


def test_command_writes_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pics"
    monkeypatch.setattr(sys, "argv", ["evse-node", "pics", "--output", str(file)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "EEVSE.S=1\n" in file.read_text()
