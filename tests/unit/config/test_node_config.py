"""NodeConfig and its sources: each invalid value is one line that says what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evse_node.config.node_config import SETTINGS, NodeConfig, load_config
from evse_node.config.values import HostPort
from evse_node.errors import ConfigError


def load(
    flags: dict[str, object], environment: dict[str, str], text: str, folder: Path
) -> NodeConfig:
    file = folder / "node.toml"
    file.write_text(text)
    return load_config(flags, environment, file)


def test_flags_override_environment_which_overrides_file(tmp_path: Path) -> None:
    text = "port = 1\ndiscriminator = 1\npasscode = 1\n"
    environment = {"EVSE_NODE_PORT": "2", "EVSE_NODE_DISCRIMINATOR": "2"}
    config = load({"port": "3"}, environment, text, tmp_path)
    assert (config.port, config.discriminator, config.passcode) == (3, 2, 1)
    assert config.backend == "simulated"


def test_each_setting_is_accepted_from_each_source(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("x")
    values = {
        "storage": str(tmp_path / "s"),
        "port": "5541",
        "discriminator": "0xF00",
        "passcode": "2020-2021",
        "interface": "eth0,wlan0",
        "backend": "simulated",
        "features": "soc,V2X",
        "charging": "enabled",
        "device": "/dev/ttyUSB0",
        "circuit-capacity": "20",
        "user-maximum": "16",
        "ventilation": "yes",
        "cards": "04:A1:B2:C3,0badcafe",
        "fault-retries": "5, 60",
        "closings-per-minute": "3",
        "card-outage": "600",
        "time-zone": "Europe/Berlin",
        "vehicles": "known",
        "surplus-seconds": "30",
        "dem-features": "0x7C",
        "matter-version": "1.4.2",
        "enable-key": "00112233445566778899aabbccddeeff",
        "control": "[::1]:8080",
        "cluster-xml": str(pem),
        "clock": "Matter",
        "log-level": "DEBUG",
        "vendor-id": "0xFFF1",
        "product-id": "0x8002",
        "dac": str(pem),
        "pai": str(pem),
        "cd": str(pem),
        "dac-key": str(pem),
    }
    assert set(values) == {setting.key for setting in SETTINGS}
    from_flags = load_config(values, {})
    environment = {setting.variable: values[setting.key] for setting in SETTINGS}
    text = "".join(f'{key.replace("-", "_")} = "{value}"\n' for key, value in values.items())
    assert load_config({}, environment) == from_flags
    assert load({}, {}, text, tmp_path) == from_flags
    assert from_flags.discriminator == 3840
    assert from_flags.passcode == 20202021
    assert from_flags.interfaces == ("eth0", "wlan0")
    assert from_flags.features == ("SOC", "V2X")
    assert (from_flags.circuit_capacity_a, from_flags.user_maximum_a) == (20, 16)
    assert from_flags.cards == (bytes.fromhex("04a1b2c3"), bytes.fromhex("0badcafe"))
    assert from_flags.fault_retries == (5.0, 60.0)
    assert (from_flags.closings_per_minute, from_flags.card_outage_s) == (3, 600)
    assert from_flags.control == HostPort("::1", 8080)
    assert str(from_flags.control) == "[::1]:8080"
    assert (from_flags.clock, from_flags.log_level) == ("matter", "debug")
    assert from_flags.charging is True
    assert from_flags.ventilation is True
    assert from_flags.enable_key == bytes.fromhex("00112233445566778899aabbccddeeff")


def test_toml_accepts_native_types_and_paths_relative_to_file(tmp_path: Path) -> None:
    text = (
        'port = 0\ninterface = ["eth0", "eth1"]\nstorage = "state"\n'
        'control = "off"\ncharging = true\nventilation = false\ncards = ["04a1", "04:A1"]\n'
        '[hal]\nboard = "x.toml"\n'
    )
    config = load({}, {}, text, tmp_path)
    assert config.port == 0
    assert config.interfaces == ("eth0", "eth1")
    assert config.storage == tmp_path / "state"
    assert config.control is None
    assert config.charging is True
    assert config.ventilation is False
    assert config.cards == (b"\x04\xa1",)
    assert config.hal == {"board": "x.toml"}


def test_device_becomes_port_of_hardware(tmp_path: Path) -> None:
    text = 'backend = "openevse"\n[hal]\nport = "/dev/ttyS0"\nbaud = 9600\n'
    assert load({}, {}, text, tmp_path).hal["port"] == "/dev/ttyS0"
    config = load({"device": "/dev/ttyUSB0"}, {}, text, tmp_path)
    assert config.hal == {"port": "/dev/ttyUSB0", "baud": 9600}
    assert NodeConfig(device="/dev/ttyUSB1").hal == {"port": "/dev/ttyUSB1"}


@pytest.mark.parametrize("word", ["yes", "true", "On", "1", "enabled"])
def test_switch_accepts_usual_words(word: str) -> None:
    opposite = {"yes": "no", "true": "false", "On": "Off", "1": "0", "enabled": "disabled"}[word]
    for setting in ("charging", "ventilation"):
        assert getattr(load_config({setting: word}, {}), setting) is True
        assert getattr(load_config({setting: opposite}, {}), setting) is False
    python: dict[str, Any] = {"charging": word, "ventilation": opposite}
    assert NodeConfig(**python) == NodeConfig(charging=True, ventilation=False)


def test_converted_values_are_accepted_again() -> None:
    config = load_config({"cards": "04a1", "features": "none", "control": "off"}, {})
    again: dict[str, Any] = {name: getattr(config, name) for name in config.__struct_fields__}
    assert NodeConfig(**again) == config


def test_repr_hides_secrets() -> None:
    config = NodeConfig(passcode=20202021, enable_key=bytes(range(16)))
    assert "20202021" not in repr(config)
    assert "enable_key" not in repr(config)
    assert "discriminator=None" in repr(config)


def test_environment_names_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("port = 77")
    assert load_config({}, {"EVSE_NODE_CONFIG": str(file)}).port == 77


INVALID = [
    ({"port": "70000"}, "--port: '70000' cannot be used: give 0 to 65535"),
    ({"port": "x"}, "--port: 'x' cannot be used"),
    ({"port": "-1"}, "--port: '-1' cannot be used"),
    ({"port": "1_000"}, "--port: '1_000' cannot be used"),
    ({"discriminator": "4096"}, "--discriminator: '4096' cannot be used: give 0 to 4095"),
    ({"passcode": "12345678"}, "--passcode: '12345678' cannot be used"),
    ({"passcode": "11111111"}, "--passcode"),
    ({"passcode": "0"}, "--passcode"),
    ({"passcode": "99999999"}, "--passcode"),
    ({"storage": "a\0b"}, "--storage: 'a\0b' cannot be used: give a folder"),
    ({"interface": ("a b",)}, "--interface"),
    ({"interface": [""]}, "--interface: '' cannot be used: give names of network interfaces"),
    ({"features": " ,"}, "--features: ' ,' cannot be used"),
    ({"features": "XYZ"}, "--features: 'XYZ' cannot be used: give a list of PREF"),
    ({"circuit-capacity": "5"}, "--circuit-capacity: '5' cannot be used: give 6 to 80 amperes"),
    ({"user-maximum": "81"}, "--user-maximum: '81' cannot be used"),
    ({"cards": "04a"}, "--cards: '04a' cannot be used: give UIDs"),
    ({"cards": ","}, "--cards: ',' cannot be used"),
    ({"fault-retries": "10,0"}, "--fault-retries: '10,0' cannot be used: give waits"),
    ({"fault-retries": ""}, "--fault-retries: '' cannot be used"),
    ({"time-zone": "Berlin"}, "--time-zone: 'Berlin' cannot be used: give a name"),
    ({"time-zone": "../x"}, "--time-zone: '../x' cannot be used"),
    ({"matter-version": "1.2"}, "--matter-version: '1.2' cannot be used: give one of 1.3, 1.4.2"),
    ({"enable-key": "00" * 16}, "--enable-key"),
    ({"enable-key": "12"}, "--enable-key"),
    ({"control": "8080"}, "--control: '8080' cannot be used: give HOST:PORT"),
    ({"control": "h:99999"}, "--control"),
    ({"control": "[::1:5"}, "--control: '[::1:5' cannot be used"),
    ({"log-level": "loud"}, "--log-level: 'loud' cannot be used: give one of debug"),
    ({"dac": "/nowhere"}, "--dac: '/nowhere' cannot be used: give a certificate file"),
    ({"vendor-id": "0"}, "--vendor-id: '0' cannot be used: give 0x0001 to 0xFFF4"),
    ({"charging": "maybe"}, "--charging: 'maybe' cannot be used: give yes or no"),
    ({"ventilation": "2"}, "--ventilation: '2' cannot be used: give yes or no"),
    ({"vehicles": "mine"}, "--vehicles: 'mine' cannot be used: give one of any, known"),
    ({"vendor-id": "0x1234"}, "vendor-id: 0x1234 needs your own attestation"),
    ({"product-id": "0x8020"}, "product-id: 0x8020 needs your own attestation"),
]


@pytest.mark.parametrize(("flags", "line"), INVALID)
def test_invalid_value_is_one_line(flags: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(flags, {})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_error_names_source_of_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^EVSE_NODE_PORT: 'x' cannot be used"):
        load_config({}, {"EVSE_NODE_PORT": "x"})
    with pytest.raises(ConfigError, match=r"node\.toml: port: 'True' cannot be used"):
        load({}, {}, "port = true", tmp_path)
    with pytest.raises(ConfigError, match=r"node\.toml: port: '5\.0' cannot be used"):
        load({}, {}, "port = 5.0", tmp_path)
    with pytest.raises(ConfigError, match=r"node\.toml: prot: no such key; known keys are .*port"):
        load({}, {}, "prot = 1", tmp_path)
    with pytest.raises(ConfigError, match=r"node\.toml: not TOML: .*line 2"):
        load({}, {}, "port = 1\nport = 2\n", tmp_path)
    with pytest.raises(ConfigError, match=r"node\.toml: hal: '1' cannot be used: give a table"):
        load({}, {}, "hal = 1", tmp_path)
    for storage in ("", "~nobody-of-this-name/x"):
        with pytest.raises(ConfigError, match=rf"node\.toml: storage: '{storage}' cannot be used"):
            load({}, {}, f'storage = "{storage}"', tmp_path)
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(No such file"):
        load_config({}, {}, tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"^NodeConfig\.port: '99999' cannot be used"):
        NodeConfig(port=99999)
    with pytest.raises(ConfigError, match=r"^NodeConfig\.storage: 'None' cannot be used"):
        NodeConfig(storage=None)  # type: ignore[arg-type]
    for control in (HostPort("", 0), HostPort("::1", 65536)):
        with pytest.raises(ConfigError, match=r"^NodeConfig\.control: .* give HOST:PORT"):
            NodeConfig(control=control)


def test_attestation_files_are_required_together(tmp_path: Path) -> None:
    pem = tmp_path / "dac.pem"
    pem.write_text("x")
    with pytest.raises(ConfigError, match="--pai is missing: your own attestation needs"):
        load_config({"dac": str(pem)}, {})


def test_user_without_home_folder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_error(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", raise_error)
    with pytest.raises(ConfigError, match=r"^storage: you have no home folder: give --storage DIR"):
        load_config({}, {})
    with pytest.raises(ConfigError, match=r"^--dac: '~nobody/dac.pem' cannot be used"):
        load_config({"storage": None, "dac": "~nobody/dac.pem"}, {})
