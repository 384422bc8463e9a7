"""The node under test: a process on its own host, which tests restart and reset."""

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


class PollTimings:
    """How fast time goes by for some programs: `scale` times as fast, from now on.

    Whenever they begin, all of them have the same time. `library` is that of faketime.
    """

    def __init__(
        self, scale: int = 1, library: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.scale = scale
        self._library = library
        self._clock = clock
        self._start = clock()

    def prefix(self) -> tuple[str, ...]:
        """Return what goes before the command of a program that begins now."""
        if self.scale == 1:
            return ()
        ahead_s = (self._clock() - self._start) * (self.scale - 1)
        # Not the program faketime, which would stay between the command and its signals.
        return ("env", f"LD_PRELOAD={self._library}", f"FAKETIME=+{ahead_s:.0f} x{self.scale}")


def find_faketime() -> str:
    """Return faketime's library for programs with threads, or "" where it is not installed."""
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
        pace: PollTimings,
    ) -> None:
        self._hosts = hosts
        self._storage = storage
        self._options = options
        self._log = log
        self._pace = pace
        self._process: subprocess.Popen[bytes] | None = None
        self.qr_code = ""

    def start(self) -> None:
        """Start the node; when it returns, the node can be found."""
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
        asked = subprocess.run(
            self._command("onboarding", "--json"), capture_output=True, check=False
        )
        if asked.returncode == 0:
            self.qr_code = json.loads(asked.stdout)["qr_code"]
        return asked.returncode == 0

    def stop(self) -> None:
        """End the node as a service manager would."""
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
        """Let the running node forget everything."""
        subprocess.run(
            self._command("factory-reset", "--yes"), stdout=self._log, stderr=self._log, check=True
        )

    def _command(self, command: str, *options: str) -> list[str]:
        return self._hosts.command(
            self._hosts.device,
            *(self._pace.prefix() if command == "run" else ()),
            *(sys.executable, "-m", "evse_node", command, "--storage", str(self._storage)),
            *options,
        )
