"""The command line `evse-node`.

Errors print one line to stderr and exit with status 2 (command line and settings) or 1
(everything else). Each command imports what it needs itself, for a fast start.
"""

from __future__ import annotations

import argparse
import errno
import gc
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from evse_node import __version__
from evse_node.config.node_config import SETTINGS, NodeConfig, load_config
from evse_node.errors import ConfigError, EvseNodeError

if TYPE_CHECKING:
    from evse_node.cli.control_client import ControlClient, JsonObject

# Backends of other packages may use TLS.
_BACKENDS_WITHOUT_TLS: Final = ("simulated", "gpio", "openevse")

# Settings that select the running node, with their help for this use.
_NODE_SETTINGS: Final = {
    "storage": "storage folder of the running node",
    "control": "address of its control API (default: from its storage folder)",
}
_BOARD_HELP: Final = "TOML file of the board, or the name of a board that comes with evse-node"


class _Argument(NamedTuple):
    """Argument of a simulation; `name` is that of the control API's parameter."""

    name: str
    metavar: str
    help: str
    type: type[int] | type[str] = int
    is_optional: bool = False


class _Simulation(NamedTuple):
    """Subcommand of `evse-node sim`; `name` is that of the control API's operation."""

    name: str
    help: str
    arguments: tuple[_Argument, ...] = ()


_SIMULATIONS: Final = (
    _Simulation("plug-in", "plug the car in"),
    _Simulation("unplug", "unplug the car"),
    _Simulation("demand", "make the car request energy"),
    _Simulation("no-demand", "make the car stop requesting energy"),
    _Simulation(
        "tap",
        "present a card to the RFID reader",
        (_Argument("uid", "UID", "UID of the card: 1 to 10 bytes in hexadecimal", str),),
    ),
    _Simulation(
        "fault",
        "make the hardware report a fault",
        (_Argument("name", "NAME", "name in FaultStateEnum, like OverTemperature", str),),
    ),
    _Simulation("clear-fault", "clear the hardware's faults"),
    _Simulation(
        "battery",
        "set state of charge and capacity of the car's battery",
        (
            _Argument("soc_percent", "PERCENT", "state of charge"),
            _Argument("capacity_mwh", "MWH", "capacity (default: unchanged)", is_optional=True),
        ),
    ),
    _Simulation(
        "temperature",
        "set the temperature of the board",
        (_Argument("celsius", "C", "whole degrees Celsius"),),
    ),
    _Simulation("surplus", "set the solar surplus", (_Argument("watts", "WATTS", "whole watts"),)),
    _Simulation(
        "derate",
        "reduce the current that the hardware supports, as heat does",
        (_Argument("current_ma", "MA", "milliamperes (default: full current)", is_optional=True),),
    ),
)


class _Parser(argparse.ArgumentParser):
    """Argument parser that raises its errors as ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main() -> NoReturn:
    """Run the command line and exit."""
    # Imports create many objects and little garbage: frequent collections cost a tenth of the
    # start, and none at all a twentieth of the memory.
    gc.set_threshold(10_000)
    _escape_unprintable_output()
    try:
        arguments, unknown = _parser().parse_known_args()
        if unknown:
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        command: Callable[[argparse.Namespace], None] = arguments.command
        command(arguments)
    except ConfigError as error:
        _fail(str(error), 2)
    except EvseNodeError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail("the output cannot be written: the disk is full", 1)
    sys.exit(0)


def _escape_unprintable_output() -> None:
    """Print characters that the output's encoding does not have as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, status: int) -> NoReturn:
    # A quoted value may contain line breaks or control sequences of terminals.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
    print(f"evse-node: {line}", file=sys.stderr)
    sys.exit(status)


def _parser() -> _Parser:
    parser = _Parser("evse-node", description="A Matter EV charger.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"evse-node {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _add(commands, "run", "run a node until Ctrl-C or SIGTERM", _run)
    _add_all_settings(run)

    onboarding = _add(commands, "onboarding", "show the codes of a running node", _onboarding)
    onboarding.add_argument("--json", action="store_true", help="print JSON")
    _add_node_settings(onboarding)

    reset = _add(
        commands, "factory-reset", "erase fabrics and settings of a running node", _factory_reset
    )
    reset.add_argument("--yes", "-y", action="store_true", help="do not ask for confirmation")
    _add_node_settings(reset)

    paa = _add(commands, "paa", "write the root certificate of the development attestation", _paa)
    paa.add_argument(
        "--output", metavar="DIR", default=".", help="folder to write to (default: this one)"
    )

    pics = _add(commands, "pics", "write the PICS of a node with these settings", _pics)
    pics.add_argument(
        "--output", metavar="FILE", help="file to write to (default: standard output)"
    )
    pics.add_argument("--endpoint", metavar="N", type=int, help="only this endpoint (default: all)")
    _add_all_settings(pics)

    safe_off = _add(commands, "safe-off", "switch off a board or an EVSE controller", _safe_off)
    target = safe_off.add_mutually_exclusive_group(required=True)
    target.add_argument("--board", metavar="FILE", help=_BOARD_HELP)
    target.add_argument("--config", metavar="FILE", help="TOML file of the node with its backend")

    doctor = _add(commands, "doctor", "check each part of a board, and show its wiring", _doctor)
    doctor.add_argument("--board", metavar="FILE", required=True, help=_BOARD_HELP)

    text = "control the simulated car of a running node"
    sim = commands.add_parser("sim", help=text, description=f"{text.capitalize()}.")
    _add_simulations(sim.add_subparsers(metavar="ACTION", required=True))
    return parser


def _add_simulations(actions: argparse._SubParsersAction[_Parser]) -> None:
    for simulation in _SIMULATIONS:
        parser = _add(actions, simulation.name, simulation.help, _simulate)
        parser.set_defaults(simulation=simulation)
        for argument in simulation.arguments:
            parser.add_argument(
                argument.name,
                metavar=argument.metavar,
                help=argument.help,
                type=argument.type,
                nargs="?" if argument.is_optional else None,
            )
        _add_node_settings(parser)
    status = _add(actions, "status", "show the state of the charger", _status)
    status.add_argument("--json", action="store_true", help="print JSON")
    _add_node_settings(status)


def _add(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    text: str,
    command: Callable[[argparse.Namespace], None],
) -> _Parser:
    description = f"{text[0].upper()}{text[1:]}."
    parser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_all_settings(parser: _Parser) -> None:
    parser.usage = f"{parser.prog} [options]"
    _add_settings(parser, {each.key: f"{each.help} (default: {each.default})" for each in SETTINGS})


def _add_node_settings(parser: _Parser) -> None:
    """Add the flags that select a running node."""
    _add_settings(parser, _NODE_SETTINGS)


def _add_settings(parser: _Parser, helps: Mapping[str, str]) -> None:
    """Add a flag for each key of `helps`; its value stays text for `load_config`."""
    for setting in SETTINGS:
        if setting.key in helps:
            parser.add_argument(
                f"--{setting.key}",
                dest=setting.key,
                metavar=setting.metavar,
                help=helps[setting.key],
                action="append" if setting.key == "interface" else "store",
            )
    parser.add_argument("--config", metavar="FILE", help="TOML file with the same keys")


def _load_config(arguments: argparse.Namespace) -> NodeConfig:
    file = Path(arguments.config) if arguments.config else None
    return load_config(vars(arguments), file=file)


def _connect(arguments: argparse.Namespace) -> ControlClient:
    from evse_node.cli.control_client import ControlClient, find_node

    config = _load_config(arguments)
    if config.control is not None and config.control.port:
        return ControlClient(config.control)
    return ControlClient(find_node(config.storage), config.storage)


def _run(arguments: argparse.Namespace) -> None:
    config = _load_config(arguments)
    if config.backend in _BACKENDS_WITHOUT_TLS:
        _import_asyncio_without_tls()
    from evse_node.cli.run import serve

    serve(config)


def _import_asyncio_without_tls() -> None:
    """Import asyncio without `ssl`, as in a Python that was built without.

    This saves a tenth of the memory. `ssl` can still be imported later.
    """
    if "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]


def _onboarding(arguments: argparse.Namespace) -> None:
    node = _connect(arguments)
    codes = node.call("GET", "/onboarding")
    if arguments.json:
        _print_json(codes)
        return
    import subprocess

    from evse_node.cli.control_client import is_object
    from evse_node.cli.output import commissioning_line, drawing_command, show, show_codes

    show_codes(str(codes["qr_code"]), str(codes["manual_code"]))
    if command := drawing_command(str(codes["qr_code"])):
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    status = node.call("GET", "/status")["node"]
    if is_object(status) and isinstance(fabrics := status["fabrics"], list):
        show(commissioning_line(str(status["commissioning_window"]), len(fabrics)))


def _factory_reset(arguments: argparse.Namespace) -> None:
    node = _connect(arguments)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing was reset: not on a terminal, so give --yes")
        if not _is_confirmed("Erase all fabrics and settings? [y/N] "):
            raise ConfigError("nothing was reset")
    node.call("POST", "/factory-reset")
    print("Fabrics and settings are erased; the node can be commissioned again.")


def _is_confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False


def _paa(arguments: argparse.Namespace) -> None:
    from evse_node.matter.certificates.attestation import paa_certificate_der, paa_certificate_pem

    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evse-node-paa.der").write_bytes(paa_certificate_der())
        (folder / "evse-node-paa.pem").write_text(paa_certificate_pem(), encoding="ascii")
    except OSError as error:
        raise ConfigError(f"--output: '{folder}' cannot be used ({error.strerror})") from None
    print(folder / "evse-node-paa.der")
    print(folder / "evse-node-paa.pem")


def _pics(arguments: argparse.Namespace) -> None:
    from evse_node.cli.pics import pics_text

    text = pics_text(_load_config(arguments), arguments.endpoint)
    if arguments.output is None:
        print(text, end="")
        return
    try:
        Path(arguments.output).write_text(text, encoding="ascii")
    except OSError as error:
        raise ConfigError(
            f"--output: '{arguments.output}' cannot be written ({error.strerror})"
        ) from None


def _safe_off(arguments: argparse.Namespace) -> None:
    from evse_node.cli.hardware import safe_off

    if arguments.board is not None:
        safe_off("gpio", {"board": arguments.board})
    else:
        config = load_config({}, file=Path(arguments.config))
        safe_off(config.backend, config.hal)


def _doctor(arguments: argparse.Namespace) -> None:
    from evse_node.cli.hardware import doctor

    doctor(arguments.board)


def _simulate(arguments: argparse.Namespace) -> None:
    simulation: _Simulation = arguments.simulation
    values: Mapping[str, int | str | None] = vars(arguments)
    names = [argument.name for argument in simulation.arguments]
    parameters = {name: value for name in names if (value := values[name]) is not None}
    _connect(arguments).call("POST", f"/sim/{simulation.name}", parameters if names else None)


def _status(arguments: argparse.Namespace) -> None:
    status = _connect(arguments).call("GET", "/status")
    if arguments.json:
        _print_json(status)
        return
    from evse_node.cli.output import show_status

    show_status(status)


def _print_json(value: JsonObject) -> None:
    print(json.dumps(value, indent=2))
