"""The command line: run a node, show its codes, reset it, and act on its simulated car.

What is wrong with a command is one line and exit code 2 (settings) or 1 (everything
else). Imports that a command needs alone stay inside it: `run` is to be discoverable fast.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from evse_node.config import NodeConfig, load_config
from evse_node.errors import ConfigError, EvseNodeError

if TYPE_CHECKING:
    from evse_node.control.api import JsonObject
    from evse_node.control.client import ControlClient

app = typer.Typer(
    name="evse-node",
    help="A Matter EV charger.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
sim = typer.Typer(
    help="Act on the simulated car of a running node.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(sim, name="sim")

Text = str | None


def option(name: str, metavar: str, text: str) -> object:
    """Return an option that is text for the settings table to read."""
    return typer.Option(f"--{name}", metavar=metavar, help=text, show_default=False)


Storage = Annotated[Text, option("storage", "DIR", "Folder that keeps the node's state.")]
Control = Annotated[Text, option("control", "HOST:PORT", "Where the node's control API listens.")]
Config = Annotated[Text, option("config", "FILE", "TOML file with the same keys as the flags.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    storage: Storage = None,
    port: Annotated[Text, option("port", "N", "UDP port (5540; 0: any free one).")] = None,
    discriminator: Annotated[
        Text, option("discriminator", "N", "0 to 4095 (drawn once, then kept).")
    ] = None,
    passcode: Annotated[
        Text, option("passcode", "N", "Setup passcode (drawn once, then kept).")
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option(
            "--interface", metavar="NAME", help="Network interface; may be repeated (all)."
        ),
    ] = None,
    backend: Annotated[Text, option("backend", "NAME", "Hardware (simulated).")] = None,
    features: Annotated[
        Text, option("features", "LIST", "Features of the charger: PREF,SOC,PNC,RFID,V2X or none.")
    ] = None,
    enable_key: Annotated[
        Text, option("enable-key", "HEX", "16 bytes that unlock test event triggers.")
    ] = None,
    control: Annotated[
        Text, option("control", "HOST:PORT", "Control API (127.0.0.1:0), or off.")
    ] = None,
    cluster_xml: Annotated[
        Text, option("cluster-xml", "FILE", "Cluster definition that goes before the shipped one.")
    ] = None,
    log_level: Annotated[
        Text, option("log-level", "NAME", "debug, info, warning or error (info).")
    ] = None,
    vendor_id: Annotated[Text, option("vendor-id", "N", "Vendor id (0xFFF1).")] = None,
    product_id: Annotated[Text, option("product-id", "N", "Product id (0x8001).")] = None,
    dac: Annotated[Text, option("dac", "FILE", "Own device attestation certificate.")] = None,
    pai: Annotated[Text, option("pai", "FILE", "Own intermediate certificate.")] = None,
    cd: Annotated[Text, option("cd", "FILE", "Own certification declaration.")] = None,
    dac_key: Annotated[Text, option("dac-key", "FILE", "Private key of --dac.")] = None,
    config: Config = None,
) -> None:
    """Run a node until Ctrl-C or SIGTERM."""
    settings = _settings(
        config,
        {
            "storage": storage,
            "port": port,
            "discriminator": discriminator,
            "passcode": passcode,
            "interface": tuple(interface or ()),
            "backend": backend,
            "features": features,
            "enable-key": enable_key,
            "control": control,
            "cluster-xml": cluster_xml,
            "log-level": log_level,
            "vendor-id": vendor_id,
            "product-id": product_id,
            "dac": dac,
            "pai": pai,
            "cd": cd,
            "dac-key": dac_key,
        },
    )
    from evse_node.console import serve

    serve(settings)


@app.command()
def onboarding(
    json_: Json = False, storage: Storage = None, control: Control = None, config: Config = None
) -> None:
    """Show the QR code and the manual pairing code of a running node."""
    codes = _node(storage, control, config).call("GET", "/onboarding")
    if json_:
        _print_json(codes)
        return
    from evse_node.console import show_codes

    show_codes(str(codes["qr_code"]), str(codes["manual_code"]))


@app.command("factory-reset")
def factory_reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    storage: Storage = None,
    control: Control = None,
    config: Config = None,
) -> None:
    """Make a running node forget all fabrics and settings, and start anew."""
    node = _node(storage, control, config)
    if not yes and sys.stdin.isatty():
        typer.confirm("Forget all fabrics and settings?", abort=True)
    node.call("POST", "/factory-reset")
    print("The node has forgotten its fabrics and settings, and can be commissioned again.")


@app.command()
def paa(
    output: Annotated[
        str, typer.Option("--output", metavar="DIR", help="Folder to write to.")
    ] = ".",
    storage: Storage = None,
) -> None:
    """Write the root certificate (PAA) of the node's development attestation, as DER and PEM."""
    del storage  # accepted everywhere; the root is the same for all nodes
    from evse_node.matter.attestation import paa_certificate_der, paa_certificate_pem

    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evse-node-paa.der").write_bytes(paa_certificate_der())
        (folder / "evse-node-paa.pem").write_text(paa_certificate_pem())
    except OSError as error:
        raise ConfigError(f"--output: '{folder}' cannot be used ({error.strerror})") from None
    print(folder / "evse-node-paa.der")
    print(folder / "evse-node-paa.pem")


@sim.command("plug-in")
def plug_in(storage: Storage = None, control: Control = None, config: Config = None) -> None:
    """Plug the car in."""
    _simulate(storage, control, config, "plug-in")


@sim.command()
def unplug(storage: Storage = None, control: Control = None, config: Config = None) -> None:
    """Unplug the car."""
    _simulate(storage, control, config, "unplug")


@sim.command()
def demand(storage: Storage = None, control: Control = None, config: Config = None) -> None:
    """The car asks for energy."""
    _simulate(storage, control, config, "demand")


@sim.command("no-demand")
def no_demand(storage: Storage = None, control: Control = None, config: Config = None) -> None:
    """The car wants no energy."""
    _simulate(storage, control, config, "no-demand")


@sim.command()
def tap(
    uid: Annotated[str, typer.Argument(metavar="UID", help="1 to 10 bytes in hexadecimal.")],
    storage: Storage = None,
    control: Control = None,
    config: Config = None,
) -> None:
    """Hold a card to the RFID reader."""
    _simulate(storage, control, config, "tap", {"uid": uid})


@sim.command()
def fault(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A fault, like OverTemperature.")],
    storage: Storage = None,
    control: Control = None,
    config: Config = None,
) -> None:
    """Make the hardware report a fault."""
    _simulate(storage, control, config, "fault", {"name": name})


@sim.command("clear-fault")
def clear_fault(storage: Storage = None, control: Control = None, config: Config = None) -> None:
    """Make the hardware's faults go away."""
    _simulate(storage, control, config, "clear-fault")


@sim.command()
def status(
    json_: Json = False, storage: Storage = None, control: Control = None, config: Config = None
) -> None:
    """Show what the charger does."""
    found = _node(storage, control, config).call("GET", "/status")
    if json_:
        _print_json(found)
        return
    from evse_node.console import show_status

    show_status(found)


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = app(standalone_mode=False)
    except ConfigError as error:
        _fail(str(error), 2)
    except EvseNodeError as error:
        _fail(str(error), 1)
    except typer.Abort:
        _fail("not done", 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        # What typer says about a command line that it cannot read.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        _fail(f"{format_message()} (evse-node --help tells more)", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"evse-node: {message}", file=sys.stderr)
    sys.exit(code)


def _settings(config: Text, flags: dict[str, object]) -> NodeConfig:
    return load_config(flags, file=None if config is None else Path(config))


def _node(storage: Text, control: Text, config: Text) -> ControlClient:
    from evse_node.control.client import ControlClient, find_node

    settings = _settings(config, {"storage": storage, "control": control})
    given = settings.control
    if given is not None and given.port:
        return ControlClient(given)
    return ControlClient(find_node(settings.storage), settings.storage)


def _simulate(
    storage: Text, control: Text, config: Text, action: str, parameters: JsonObject | None = None
) -> None:
    _node(storage, control, config).call("POST", f"/sim/{action}", parameters)


def _print_json(value: JsonObject) -> None:
    print(json.dumps(value, indent=2))
