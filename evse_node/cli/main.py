"""The command line: run a node, show its codes, reset it, and act on its simulated car.

What is wrong with a command is one line and exit code 2 (command line and settings) or
1 (everything else). Imports that one command needs stay inside it: `run` is to be
discoverable fast.
"""

from __future__ import annotations

import argparse
import errno
import gc
import io
import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from evse_node import __version__
from evse_node.config.node_config import SETTINGS, NodeConfig, load_config
from evse_node.errors import ConfigError, EvseNodeError

if TYPE_CHECKING:
    from evse_node.cli.control_client import ControlClient, JsonObject

# Those that ship with the node. A backend of another package may talk to a server.
_BACKENDS_WITHOUT_TLS: Final = ("simulated", "gpio", "openevse")

# Settings that tell a command which running node is meant, and what they mean there.
_FINDING: Final = {
    "storage": "storage folder of the running node",
    "control": "its control API (as the node wrote it into its storage folder)",
}

_SIMULATION: Final = {
    "plug-in": "plug the car in",
    "unplug": "unplug the car",
    "demand": "let the car ask for energy",
    "no-demand": "let the car want no energy",
    "tap": "hold a card to the RFID reader",
    "fault": "let the hardware report a fault",
    "clear-fault": "let the hardware's faults go away",
    "battery": "give the car another battery or state of charge",
    "temperature": "give the board another temperature",
    "surplus": "let the sun leave power over for charging",
    "derate": "let the hardware get hot, so that it bears less current",
}


class _Argument(NamedTuple):
    """One argument of an action, by the name that the control API gives it."""

    name: str
    metavar: str
    help: str
    kind: type[int] | type[str] = int
    is_optional: bool = False


_ARGUMENTS: Final[Mapping[str, tuple[_Argument, ...]]] = {
    "tap": (_Argument("uid", "UID", "the card: 1 to 10 bytes in hexadecimal", str),),
    "fault": (_Argument("name", "NAME", "a name of FaultStateEnum, like OverTemperature", str),),
    "battery": (
        _Argument("soc_percent", "PERCENT", "its state of charge"),
        _Argument("capacity_mwh", "MWH", "its capacity, if that changes", is_optional=True),
    ),
    "temperature": (_Argument("celsius", "C", "whole degrees Celsius"),),
    "surplus": (_Argument("watts", "WATTS", "whole watts"),),
    "derate": (
        _Argument(
            "current_ma", "MA", "what it bears; left out when it has cooled down", is_optional=True
        ),
    ),
}


_BOARD_HELP: Final = "TOML file of the board, or the name of one that is shipped"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({self.prog} --help tells more)")


def main() -> NoReturn:
    """Run the command line and exit."""
    # Imports make objects to keep and little garbage; looking for it often takes a tenth of
    # the start, never looking a twentieth of the memory.
    gc.set_threshold(10_000)
    _print_whatever_comes()
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


def _print_whatever_comes() -> None:
    """Let names of folders and labels of fabrics not fail where their letters cannot be shown."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> NoReturn:
    # What somebody gave may have line breaks, or worse for a terminal.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
    print(f"evse-node: {line}", file=sys.stderr)
    sys.exit(code)


def _parser() -> _Parser:
    parser = _Parser("evse-node", description="A Matter EV charger.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"evse-node {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _add(commands, "run", "run a node until Ctrl-C or SIGTERM", _run)
    _add_settings(run, [setting.key for setting in SETTINGS])

    onboarding = _add(commands, "onboarding", "show the codes of a running node", _onboarding)
    onboarding.add_argument("--json", action="store_true", help="print JSON")
    _add_finding(onboarding)

    reset = _add(
        commands, "factory-reset", "make a running node forget fabrics and settings", _factory_reset
    )
    reset.add_argument("--yes", "-y", action="store_true", help="do not ask")
    _add_finding(reset)

    paa = _add(commands, "paa", "write the root certificate of the development attestation", _paa)
    paa.add_argument("--output", metavar="DIR", default=".", help="folder to write to (.)")

    pics = _add(commands, "pics", "write what a node with these settings implements (PICS)", _pics)
    pics.add_argument("--output", metavar="FILE", help="file to write (standard output)")
    pics.add_argument("--endpoint", metavar="N", type=int, help="of this endpoint only")
    _add_settings(pics, [setting.key for setting in SETTINGS])

    safe_off = _add(commands, "safe-off", "switch a board or a controller off", _safe_off)
    what = safe_off.add_mutually_exclusive_group(required=True)
    what.add_argument("--board", metavar="FILE", help=_BOARD_HELP)
    what.add_argument("--config", metavar="FILE", help="the node's TOML file, for its backend")
    doctor = _add(commands, "doctor", "check every part of a board, and draw its wiring", _doctor)
    doctor.add_argument("--board", metavar="FILE", required=True, help=_BOARD_HELP)

    sim = commands.add_parser("sim", help="act on the simulated car of a running node")
    actions = sim.add_subparsers(metavar="ACTION", required=True)
    for action, text in _SIMULATION.items():
        parsed = _add(actions, action, text, _simulate)
        parsed.set_defaults(action=action)
        for argument in _ARGUMENTS.get(action, ()):
            parsed.add_argument(
                argument.name,
                metavar=argument.metavar,
                help=argument.help,
                type=argument.kind,
                nargs="?" if argument.is_optional else None,
            )
        _add_finding(parsed)
    status = _add(actions, "status", "show what the charger does", _status)
    status.add_argument("--json", action="store_true", help="print JSON")
    _add_finding(status)
    return parser


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


def _add_finding(parser: _Parser) -> None:
    """Add the flags that say which running node is meant."""
    _add_settings(parser, _FINDING, _FINDING)


def _add_settings(
    parser: _Parser, keys: Collection[str], helps: Mapping[str, str] | None = None
) -> None:
    """Add flags whose values the settings table reads, all as text."""
    for setting in SETTINGS:
        if setting.key in keys:
            parser.add_argument(
                f"--{setting.key}",
                dest=f"setting {setting.key}",
                metavar=setting.metavar,
                help=(helps or {}).get(setting.key, f"{setting.help} (default: {setting.default})"),
                action="append" if setting.key == "interface" else "store",
            )
    parser.add_argument("--config", metavar="FILE", help="TOML file with the same keys")


def _settings(arguments: argparse.Namespace) -> NodeConfig:
    given: Mapping[str, object] = vars(arguments)
    flags = {setting.key: given.get(f"setting {setting.key}") for setting in SETTINGS}
    return load_config(flags, file=Path(arguments.config) if arguments.config else None)


def _node(arguments: argparse.Namespace) -> ControlClient:
    from evse_node.cli.control_client import ControlClient, find_node

    settings = _settings(arguments)
    if settings.control is not None and settings.control.port:
        return ControlClient(settings.control)
    return ControlClient(find_node(settings.storage), settings.storage)


def _run(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    if settings.backend in _BACKENDS_WITHOUT_TLS:
        _import_asyncio_without_tls()
    from evse_node.cli.run import serve

    serve(settings)


def _import_asyncio_without_tls() -> None:
    """Let asyncio find no `ssl`, as in a Python that was built without.

    A tenth of the memory: nothing else here needs that library. It can be imported later.
    """
    if "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]


def _onboarding(arguments: argparse.Namespace) -> None:
    node = _node(arguments)
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
    node = _node(arguments)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing was reset: there is nobody to ask, so give --yes")
        if not _is_wanted("Forget all fabrics and settings? [y/N] "):
            raise ConfigError("nothing was reset")
    node.call("POST", "/factory-reset")
    print("The node has forgotten its fabrics and settings, and can be commissioned again.")


def _is_wanted(question: str) -> bool:
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

    text = pics_text(_settings(arguments), arguments.endpoint)
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
    if arguments.board is not None:
        from evse_node.cli.gpio_commands import safe_off as board_off

        board_off(arguments.board)
    else:
        from evse_node.cli.hardware import safe_off

        config = load_config({}, file=Path(arguments.config))
        safe_off(config.backend, config.hal)


def _doctor(arguments: argparse.Namespace) -> None:
    from evse_node.cli.gpio_commands import doctor

    doctor(arguments.board)


def _simulate(arguments: argparse.Namespace) -> None:
    parameters: JsonObject | None = None
    if arguments.action in _ARGUMENTS:
        names = [argument.name for argument in _ARGUMENTS[arguments.action]]
        given: Mapping[str, int | str | None] = vars(arguments)
        parameters = {name: value for name in names if (value := given[name]) is not None}
    _node(arguments).call("POST", f"/sim/{arguments.action}", parameters)


def _status(arguments: argparse.Namespace) -> None:
    status = _node(arguments).call("GET", "/status")
    if arguments.json:
        _print_json(status)
        return
    from evse_node.cli.output import show_status

    show_status(status)


def _print_json(value: JsonObject) -> None:
    print(json.dumps(value, indent=2))
