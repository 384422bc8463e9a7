"""The node under test: a process on its own host, which tests restart and reset."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from tests.interop.hosts import TwoHosts

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0


class NodeProcess:
    """`evse-node run` with the given options; its state outlives the process.

    Raises RuntimeError when the node does not start.
    """

    def __init__(
        self, hosts: TwoHosts, storage: Path, options: tuple[str, ...], log: BinaryIO
    ) -> None:
        self._hosts = hosts
        self._storage = storage
        self._options = options
        self._log = log
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
            *(sys.executable, "-m", "evse_node", command, "--storage", str(self._storage)),
            *options,
        )
