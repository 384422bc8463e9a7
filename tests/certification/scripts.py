"""Which of the SDK's Python scripts apply to this node, and with which arguments."""

from __future__ import annotations

from dataclasses import dataclass

ENABLE_KEY = "000102030405060708090a0b0c0d0e0f"
WITH_KEY = ("--hex-arg", f"enableKey:{ENABLE_KEY}")
ON_EVSE = ("--endpoint", "1")
CHARGER = (*ON_EVSE, *WITH_KEY)


@dataclass(frozen=True, slots=True)
class Script:
    """A script of src/python_testing: its name, its arguments, the node's options."""

    name: str
    arguments: tuple[str, ...] = ()
    node_options: tuple[str, ...] = ()
    group: str = "core"


SCRIPTS: tuple[Script, ...] = (
    Script("TC_EEVSE_2_2", CHARGER, group="evse"),
    Script("TC_EEVSE_2_4", CHARGER, group="evse"),
    Script("TC_TestEventTrigger", WITH_KEY),
    Script("TestInvokeReturnCodes"),
    Script("TestWriteReadOnlyAttributes"),
    Script("TC_SC_4_3"),
    Script("TC_ACE_1_2"),
)


def select(names: list[str]) -> list[Script]:
    """Return the scripts with these names or of these groups; all of them for no names.

    A name that is not listed here is taken as a script that needs no arguments.
    """
    if not names:
        return list(SCRIPTS)
    known = {script.name: script for script in SCRIPTS}
    chosen: list[Script] = []
    for name in names:
        of_group = [script for script in SCRIPTS if script.group == name]
        chosen += of_group or [known.get(name) or Script(name)]
    return chosen
