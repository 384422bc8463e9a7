"""The node under test: a process on a host of its own, restarted and reset by tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tests.interop.hosts import TwoHosts

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0


class ScaledClock:
    """Clock that runs `scale` times as fast from now on, for programs under faketime.

    Programs started at different times read the same time. `library` is the path of faketime.
    """

    def __init__(
        self, scale: int = 1, library: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.scale = scale
        self._library = library
        self._monotonic = monotonic
        self._start = monotonic()

    def prefix(self) -> tuple[str, ...]:
        """Return the prefix of the command of a program that is started now."""
        if self.scale == 1:
            return ()
        ahead_s = (self._monotonic() - self._start) * (self.scale - 1)
        # Not the program faketime: it would keep signals from the command.
        return ("env", f"LD_PRELOAD={self._library}", f"FAKETIME=+{ahead_s:.0f} x{self.scale}")


def find_faketime() -> str:
    """Return faketime's library for programs with threads, or "" if it is not installed."""
    command = ("faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD")
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


class NodeProcess:
    """`evse-node run` with the given options; its state outlives the process.

    Raises RuntimeError when the node does not start.
    """

    def __init__(
        self,
        hosts: TwoHosts,
        storage: Path,
        options: tuple[str, ...],
        log: BinaryIO,
        clock: ScaledClock,
    ) -> None:
        self._hosts = hosts
        self._storage = storage
        self._options = options
        self._log = log
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self.qr_code = ""

    def start(self) -> None:
        """Start the node and wait until it is discoverable."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            self._command("run", *self._options),
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )
        end = time.monotonic() + _START_TIMEOUT_S
        while not self._ask_for_codes():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the node does not start; see node.log")
            time.sleep(0.2)

    def _ask_for_codes(self) -> bool:
        status = subprocess.run(
            self._command("onboarding", "--json"), capture_output=True, check=False
        )
        if status.returncode == 0:
            self.qr_code = json.loads(status.stdout)["qr_code"]
        return status.returncode == 0

    def stop(self) -> None:
        """Stop the node as a service manager would."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def reboot(self) -> None:
        """Stop and start the node."""
        self.stop()
        self.start()

    def factory_reset(self) -> None:
        """Reset the running node to factory settings."""
        subprocess.run(
            self._command("factory-reset", "--yes"), stdout=self._log, stderr=self._log, check=True
        )

    def _command(self, command: str, *options: str) -> list[str]:
        return self._hosts.command(
            self._hosts.device,
            *(self._clock.prefix() if command == "run" else ()),
            *(sys.executable, "-m", "evse_node", command, "--storage", str(self._storage)),
            *options,
        )
