"""Output of `evse-node` for people: lines, codes, tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from evse_node.cli.control_client import JsonObject, JsonValue, is_object


def describe(charger: JsonObject) -> str:
    """Return the charger's state in one line."""
    parts = [str(charger["state"]), f"supply {charger['supply_state']}"]
    if charger["fault"] != "NoError":
        parts.append(f"fault {charger['fault']}")
    parts.append(f"contactor {charger['contactor']}")
    limit, source = charger["charge_limit_ma"], charger["charge_limit_source"]
    if isinstance(limit, int):
        parts.append(f"limit {limit / 1000:g} A" + (f" ({source})" if source else ""))
    return ", ".join(parts)


def show_codes(qr_code: str, manual_code: str) -> None:
    """Print the onboarding codes."""
    show(f"  Manual code: {_grouped(manual_code)}")
    show(f"  QR code:     {qr_code}")


def commissioning_line(window: str, fabrics: int) -> str:
    """Return whether the node can be commissioned. `window` is the label of its `WindowStatus`."""
    if window == "enhanced":
        return "  Commissioning window open: use the codes of the controller that opened it."
    if window == "basic":
        return "  Ready to be commissioned with these codes."
    if fabrics:
        count = f"{fabrics} fabric{'s' if fabrics > 1 else ''}"
        return f"  Commissioned, on {count}; to add a controller, use one of them."
    return "  Commissioning window closed: restart the node for another 15 minutes."


def drawing_command(qr_code: str) -> list[str]:
    """Return the command that draws a QR code; empty where the output cannot show it.

    It runs in a process of its own because the library imports HTTP and TLS, which would
    stay in the node's memory.
    """
    # Standard output may be closed, or a stream without an encoding.
    encoding: str | None = getattr(sys.stdout, "encoding", None)
    if encoding is None or not encoding.lower().startswith("utf"):
        return []
    options = ("--compact", "--border", "2", "--error", "m")
    return [sys.executable, "-m", "segno.cli", *options, qr_code]


def _grouped(code: str) -> str:
    """Return a manual code in groups of 4-3-4, or 4-3-4-5-5 digits."""
    if len(code) not in (11, 21):
        return code
    parts = [code[:4], code[4:7], code[7:11], code[11:16], code[16:]]
    return "-".join(part for part in parts if part)


def show_status(status: JsonObject) -> None:
    """Print a node's status, in a section for each part."""
    for title, value in status.items():
        if is_object(value):
            show(title)
            width = max(len(key) for key in value)
            for key, member in value.items():
                label = key.replace("_", " ").ljust(width)
                indent = "\n" + " " * (width + 4)
                show(f"  {label}  {_as_text(member).replace(chr(10), indent)}")


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


def show(line: str) -> None:
    """Print a line immediately, even into a pipe."""
    print(line, flush=True)
