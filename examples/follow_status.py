"""Follow a running node through its control API, with the standard library only.

    evse-node run &
    python examples/follow_status.py

For a node with `--storage DIR`, give the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from http.client import HTTPConnection
from pathlib import Path


def main(storage: Path, changes: int) -> None:
    try:
        address = json.loads((storage / "control.json").read_text())
    except FileNotFoundError:
        raise SystemExit(f"no node runs on {storage}") from None
    connection = HTTPConnection(address["host"], address["port"])
    try:
        connection.request("GET", "/events")
    except ConnectionRefusedError:
        raise SystemExit(f"no node runs on {storage}") from None
    response = connection.getresponse()
    while changes:
        line = response.readline().decode()
        if not line:
            raise SystemExit("the node has ended")
        if line.startswith("data: "):
            charger = json.loads(line.removeprefix("data: "))["charger"]
            print(charger["state"], charger["supply_state"], charger["offered_ma"], flush=True)
            changes -= 1


if __name__ == "__main__":
    default = Path.home() / ".local/state/evse-node"
    parser = argparse.ArgumentParser(description="Follow a running node.")
    parser.add_argument("storage", type=Path, nargs="?", default=default, help=f"({default})")
    parser.add_argument("changes", type=int, nargs="?", default=-1, help="stop after this many")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.storage, arguments.changes)
