"""The command `evse-node run`: a node in the foreground until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NoReturn

from evse_node import __version__
from evse_node.cli.output import (
    commissioning_line,
    describe,
    drawing_command,
    show,
    show_codes,
)
from evse_node.config.node_config import NodeConfig
from evse_node.node.evse_node import EvseNode

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# One line for a burst of changes.
_SETTLING_S: Final = 0.2
_LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def serve(config: NodeConfig) -> NoReturn:
    """Run a node until SIGINT, SIGTERM, SIGHUP or SIGQUIT, then exit with status 0.

    Raises ConfigError or HalError if it cannot start, or ends for another reason.
    """
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    logging.basicConfig(level=level, format=_LOG_FORMAT, stream=sys.stderr)
    # Its messages below warnings are about packets of other hosts.
    zeroconf = logging.getLogger("zeroconf")
    zeroconf.setLevel(max(level, logging.WARNING))
    if level > logging.DEBUG:
        zeroconf.addFilter(_without_traceback)
    asyncio.run(_serve(config))
    sys.exit(0)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Shorten a log record to one line, without a library's traceback."""
    record.exc_info = None
    return True


async def _serve(config: NodeConfig) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    signals = _ending_signals()

    def on_signal() -> None:
        stop.set()
        # A second signal ends the process at once.
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, on_signal)
    node = EvseNode(config)
    if not await _start(node, stop):
        return
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(node.stop)
        show(f"evse-node {__version__}, {config.backend} charger, UDP port {node.port}")
        show(f"  Storage: {config.storage}")
        if names := ", ".join(interface.name for interface in node.mdns.interfaces):
            show(f"  DNS-SD: {node.mdns.host}.local on {names}")
        else:
            show("  DNS-SD: not discoverable until a network interface is up")
        address = node.control_address
        show(f"  Control API: {'off' if address is None else f'http://{address}/openapi.json'}")
        show_codes(node.qr_code, node.manual_code)
        if command := drawing_command(node.qr_code):
            await _draw(command, stop)
        changes = _Changes(node)
        unwatch = node.watch(changes.show, settling_s=_SETTLING_S)
        changes.show()
        # Objects of the start stay: exclude them from garbage collection.
        gc.collect()
        gc.freeze()
        await _wait(node, stop)
        unwatch()
    # Not before: writing to a terminal that is gone fails, and to a full pipe it blocks.
    with contextlib.suppress(OSError):
        show("Stopped: the contactor is open.")


def _ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end the node: not a SIGHUP that `nohup` set to be ignored."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return tuple(number for number in _SIGNALS if number is not signal.SIGHUP)
    return _SIGNALS


async def _start(node: EvseNode, stop: asyncio.Event) -> bool:
    """Start the node. Return False if the signal arrives first, with the start undone.

    Hardware that does not respond may delay the start; the signal need not wait for it.
    """
    starting, stopped = asyncio.create_task(node.start()), asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.wait((starting,))
    # Raises if the hardware could not be closed, which leaves the contactor's state unknown.
    if not starting.cancelled():
        starting.result()
        await node.stop()
    return False


async def _wait(node: EvseNode, stop: asyncio.Event) -> None:
    """Wait for the signal. Raises HalError or ConfigError if the node ends before."""
    stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(node.wait_failed())
    done, rest = await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    if failed in done:
        failed.result()


async def _draw(command: Sequence[str], stop: asyncio.Event) -> None:
    """Run the command, which takes long on a small machine, but stop it with the node."""
    # Errors of an output that is closed do not belong in the charger's log.
    drawing = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    drawn, stopped = asyncio.create_task(drawing.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait((drawn, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if drawing.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            drawing.kill()
    await drawn


class _Changes:
    """Printer of changes in commissioning and charging, once they have settled."""

    def __init__(self, node: EvseNode) -> None:
        self._node = node
        self._shown: object = None
        self._commissioning = ""

    def show(self) -> None:
        """Print the state of commissioning and of the charger, each if it has changed."""
        if not self._node.is_running:
            return
        self._show_commissioning()
        self._show_charger()

    def _show_commissioning(self) -> None:
        stack = self._node.stack
        if stack.administration.is_decommissioned:
            return  # It is about to restart.
        line = commissioning_line(stack.window.status.label, len(stack.fabrics))
        if line != self._commissioning:
            self._commissioning = line
            show(line)

    def _show_charger(self) -> None:
        charger = self._node.state
        limit = charger.limit
        shown = (
            charger.state,
            charger.supply_state,
            charger.fault,
            charger.contactor,
            limit.current_ma,
        )
        if shown != self._shown:
            self._shown = shown
            line = describe(
                {
                    "state": charger.state.value,
                    "supply_state": charger.supply_state.value,
                    "fault": charger.fault.value,
                    "contactor": charger.contactor.value,
                    "charge_limit_ma": limit.current_ma,
                    "charge_limit_source": None if limit.source is None else limit.source.value,
                }
            )
            show(f"{datetime.now():%H:%M:%S}  {line}")
