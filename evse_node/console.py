"""What `evse-node` shows a person: the running node, its codes, its status."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NoReturn

from evse_node import __version__
from evse_node.config import NodeConfig
from evse_node.control.api import JsonObject, JsonValue, is_object
from evse_node.control.node_control import NodeControl
from evse_node.node import EvseNode

_LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_WATCHED: Final = ("state", "supply_state", "fault", "contactor", "charge_limit_ma")


def serve(config: NodeConfig) -> NoReturn:
    """Run a node until SIGINT or SIGTERM, then exit with 0. Raises ConfigError before."""
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    logging.basicConfig(level=level, format=_LOG_FORMAT, stream=sys.stderr)
    # Its own news at this level is about packets of others.
    logging.getLogger("zeroconf").setLevel(max(level, logging.WARNING))
    asyncio.run(_serve(config))
    sys.exit(0)


async def _serve(config: NodeConfig) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with EvseNode(config) as node:
        _show(f"evse-node {__version__}, {config.backend} charger, UDP port {node.port}")
        _show(f"  State is kept in {config.storage}")
        names = ", ".join(interface.name for interface in node.mdns.interfaces)
        _show(f"  Found by DNS-SD as {node.mdns.host}.local on {names or 'no interface'}")
        address = node.control_address
        _show(f"  Control API: {'off' if address is None else f'http://{address}/openapi.json'}")
        show_codes(node.qr_code, node.manual_code)
        changes = _Changes(node)
        unwatch = node.watch(changes.show)
        changes.show()
        await stop.wait()
        unwatch()
        _show("Closing: contactor open, goodbye.")


class _Changes:
    """Prints a line when something that a person cares for has changed."""

    def __init__(self, node: EvseNode) -> None:
        self._node = node
        self._control = NodeControl(node)
        self._shown: object = None

    def show(self) -> None:
        """Print the charger's state if it differs from the last line."""
        if not self._node.is_running:
            return
        charger = self._control.status()["charger"]
        if not is_object(charger):
            return
        watched = tuple(charger[key] for key in _WATCHED)
        if watched != self._shown:
            self._shown = watched
            _show(f"{datetime.now():%H:%M:%S}  {describe(charger)}")


def describe(charger: JsonObject) -> str:
    """Return the charger's state as one line."""
    parts = [str(charger["state"]), f"supply {charger['supply_state']}"]
    if charger["fault"] != "NoError":
        parts.append(f"fault {charger['fault']}")
    parts.append(f"contactor {charger['contactor']}")
    limit, source = charger["charge_limit_ma"], charger["charge_limit_source"]
    if isinstance(limit, int):
        parts.append(f"limit {limit / 1000:g} A" + (f" ({source})" if source else ""))
    return ", ".join(parts)


def show_codes(qr_code: str, manual_code: str) -> None:
    """Print the QR code and both codes as text."""
    import segno

    _show(f"  Manual code: {_grouped(manual_code)}")
    _show(f"  QR code:     {qr_code}")
    if sys.stdout.encoding.lower().startswith("utf"):
        segno.make(qr_code, error="m").terminal(sys.stdout, compact=True, border=2)
    sys.stdout.flush()


def _grouped(code: str) -> str:
    """Return a manual code the way it is printed: 4-3-4, or 4-3-4-5-5 digits."""
    if len(code) not in (11, 21):
        return code
    parts = [code[:4], code[4:7], code[7:11], code[11:16], code[16:]]
    return "-".join(part for part in parts if part)


def show_status(status: JsonObject) -> None:
    """Print all of a node's status as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for title, value in status.items():
        if not is_object(value):
            continue
        table = Table(title=title.replace("_", " "), show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column()
        for key, member in value.items():
            table.add_row(key.replace("_", " "), _as_text(member))
        console.print(table)


def _as_text(value: JsonValue) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(
            f"{key.replace('_', ' ')}: {_as_text(each)}" for key, each in value.items()
        )
    if isinstance(value, list):
        return "\n".join(_as_text(each) for each in value) or "none"
    return str(value)


def _show(line: str) -> None:
    print(line, flush=True)
