"""The file `control.json` of a storage folder: where the control API of its node listens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from evse_node.config.values import HostPort

CONTROL_FILE: Final = "control.json"


def write_control_file(folder: Path, address: HostPort) -> None:
    """Publish the address to commands of the same user. Raises OSError."""
    file = folder / CONTROL_FILE
    text = json.dumps({"host": address.host, "port": address.port}) + "\n"
    new = file.with_suffix(".new")
    # A left-over file or a link is removed, never written to.
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(new, flags, 0o600), "w", encoding="utf-8") as output:
        output.write(text)
    new.replace(file)


def remove_control_file(folder: Path) -> None:
    """Remove the file, if there is one. Raises OSError."""
    (folder / CONTROL_FILE).unlink(missing_ok=True)


def read_control_file(folder: Path) -> HostPort:
    """Return the address. Raises OSError, and ValueError for a damaged file."""
    found = json.loads((folder / CONTROL_FILE).read_text(encoding="utf-8"))
    try:
        return HostPort(str(found["host"]), int(found["port"]))
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
