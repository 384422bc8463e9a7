"""Follow a running node through its control API, with nothing but the standard library.

evse-node run &
python examples/follow_status.py ~/.local/state/evse-node
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection
from pathlib import Path


def main(storage: Path, changes: int) -> None:
    address = json.loads((storage / "control.json").read_text())
    connection = HTTPConnection(address["host"], address["port"])
    connection.request("GET", "/events")
    response = connection.getresponse()
    while changes:
        line = response.readline().decode()
        if line.startswith("data: "):
            charger = json.loads(line.removeprefix("data: "))["charger"]
            print(charger["state"], charger["supply_state"], charger["offered_ma"], flush=True)
            changes -= 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else -1)
