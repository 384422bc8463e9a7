"""Register maps of EVSE controllers: where a controller keeps what, as TOML tells it.

A map says how to read the pilot, the contactor and faults, and which registers to write
for each thing that a charger can ask for (`Target`). A place is a table with one of the
keys `coil`, `discrete`, `input` and `holding` and an address, and perhaps a `mask`; a
condition is a place that `is` one of some values, or without `is`, has any bit of the mask.

    [status]
    pilot = { holding = 1002 }
    closed = [{ holding = 1007, mask = 0x01 }]

    [status.pilot-states]
    A = [1]
    C = [3, 4]

    [orders]
    supply = [{ holding = 1000, per-ampere = 1 }]
    rest = [{ holding = 1000, value = 0 }]
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from evse_node.config.reading import convert
from evse_node.errors import ConfigError
from evse_node.hal.external.modbus.registers import (
    WHOLE_WORD,
    Condition,
    ControllerMap,
    Fallback,
    FaultSign,
    Place,
    Scale,
    Target,
    Write,
)
from evse_node.hal.modbus.connection import ModbusSpec
from evse_node.hal.modbus.meter import RegisterMap
from evse_node.hal.modbus.table import Address, Table
from evse_node.hal.toml_table import TomlTable, load_toml
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

CONTROLLERS: Final = Path(__file__).parent / "controllers"


def controller_names() -> list[str]:
    """Return the names of the shipped maps."""
    return sorted(file.stem for file in CONTROLLERS.glob("*.toml"))


def load_controller(name: str) -> ControllerMap:
    """Read a shipped map by name, or any by its file. Raises ConfigError."""
    is_shipped = name in controller_names()
    file = CONTROLLERS / f"{name}.toml" if is_shipped else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"hal.controller: '{name}' is no file: "
            f"give one, or one of {', '.join(controller_names())}"
        )
    top = load_toml(file)
    status = top.table("status")
    orders = top.table("orders")
    link = top.table("link")
    states = status.table("pilot-states")
    meter = top.take("meter", {}, "a table")
    found = ControllerMap(
        name=top.text("name"),
        document=top.text("document", right="the document that the registers are from"),
        firmware=top.text("firmware", right="the firmware that the registers are those of"),
        max_gap=top.whole("max-gap", 0, 32, 0),
        has_single_writes=link.flag("single-writes", False),
        maximum_current_ma=_milliamps(top, "maximum-current-a", 80),
        link=_link(link),
        pause_s=link.number("pause-ms", 0, 5_000, 0) / 1000,
        turnaround_s=link.number("turnaround-ms", 0, 5_000, 100) / 1000,
        timeout_s=link.number("timeout-ms", 50, 10_000, 1_000) / 1000,
        pilot=_place(status.table("pilot")),
        pilot_states=_pilot_states(states),
        pilot_kept=frozenset(_words(states, "keep")) if states.has("keep") else frozenset(),
        closed=_conditions(status, "closed"),
        enabled=_conditions(status, "enabled") if status.has("enabled") else (),
        offered=_scale(status.optional_table("offered"), "per-ampere"),
        limit=_scale(status.optional_table("limit"), "per-ampere"),
        cable=_scale(status.optional_table("cable"), "per-ampere"),
        temperature=_scale(status.optional_table("temperature"), "per-degree"),
        faults=tuple(_fault(each) for each in top.tables("faults")),
        orders=_orders(orders),
        fallback=_fallback(top.optional_table("fallback")),
        meter=convert(meter, RegisterMap, str(file), prefix="meter.") if meter else None,
    )
    for table in (states, status, orders, link, top):
        table.finish()
    return found


def _milliamps(table: TomlTable, key: str, usual: float) -> Milliamps:
    return Milliamps(round(table.number(key, 6, 80, usual) * 1000))


def _link(table: TomlTable) -> ModbusSpec:
    return ModbusSpec(
        baud=table.whole("baud", 1_200, 115_200, 9_600),
        parity=table.one_of("parity", ("N", "E", "O"), "N"),
        tcp_port=table.whole("tcp-port", 1, 65_535, 502),
        unit=table.whole("unit", 1, 247, 1),
    )


def _address(table: TomlTable) -> Address:
    kinds = [kind for kind in Table if table.has(kind.value)]
    if len(kinds) != 1:
        names = ", ".join(kind.value for kind in Table)
        raise ConfigError(f"{table.file}: {table.path.rstrip('.')}: give exactly one of {names}")
    return Address(kinds[0], table.whole(kinds[0].value, 0, 0xFFFF))


def _open_place(table: TomlTable) -> Place:
    return Place(_address(table), table.whole("mask", 1, WHOLE_WORD, WHOLE_WORD))


def _place(table: TomlTable) -> Place:
    place = _open_place(table)
    table.finish()
    return place


def _condition(table: TomlTable) -> Condition:
    place = _open_place(table)
    values = frozenset(_words(table, "is")) if table.has("is") else frozenset()
    table.finish()
    return Condition(place, values)


def _conditions(table: TomlTable, key: str) -> tuple[Condition, ...]:
    found = tuple(_condition(each) for each in table.tables(key))
    if not found:
        raise ConfigError(
            f"{table.where(key)} is missing: give conditions like [{{ holding = 7, mask = 1 }}]"
        )
    return found


def _words(table: TomlTable, key: str) -> list[int]:
    right = f"a list of whole numbers from 0 to {WHOLE_WORD}"
    value = table.take(key, None, right)
    if not isinstance(value, list) or not value:
        raise table.wrong(key, value, right)
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= WHOLE_WORD:
            raise table.wrong(key, value, right)
    return list(value)


def _pilot_states(table: TomlTable) -> dict[int, PilotState]:
    found: dict[int, PilotState] = {}
    for state in PilotState:
        if not table.has(state.value):
            continue
        for word in _words(table, state.value):
            if word in found:
                raise ConfigError(
                    f"{table.where(state.value)}: {word} means state {found[word].value} already"
                )
            found[word] = state
    for state in (PilotState.A, PilotState.B, PilotState.C):
        if state not in found.values():
            raise ConfigError(f"{table.where(state.value)} is missing: give its values")
    return found


def _open_scale(table: TomlTable, key: str) -> Scale:
    place = _open_place(table)
    per_unit = table.number(key, 1e-6, 1e6, 1)
    offset = table.number("offset", -1e6, 1e6, 0)
    fine = table.optional_table("fine-if")
    if fine is None:
        return Scale(place, per_unit, offset)
    return Scale(place, per_unit, offset, _condition(fine), table.number(f"fine-{key}", 1e-6, 1e6))


def _scale(table: TomlTable | None, key: str) -> Scale | None:
    if table is None:
        return None
    scale = _open_scale(table, key)
    table.finish()
    return scale


def _fault(table: TomlTable) -> FaultSign:
    names = tuple(fault.value for fault in FaultState if fault is not FaultState.NO_ERROR)
    sign = FaultSign(FaultState(table.one_of("fault", names)), _conditions(table, "when"))
    table.finish()
    return sign


def _write(table: TomlTable) -> Write:
    value: int | Scale
    if table.has("value"):
        address, value = _address(table), table.whole("value", 0, WHOLE_WORD)
    elif table.has("per-ampere"):
        value = _open_scale(table, "per-ampere")
        address = value.place.address
    else:
        raise ConfigError(
            f"{table.file}: {table.path.rstrip('.')}: give a value, "
            "or with per-ampere how the current is written"
        )
    if address.table not in (Table.COIL, Table.HOLDING):
        raise ConfigError(
            f"{table.where(address.table.value)}: cannot be written: give a coil or a holding"
        )
    if table.has("broadcast-unit") and address.table is not Table.HOLDING:
        raise ConfigError(f"{table.where('broadcast-unit')}: only for a holding register")
    only_if = table.optional_table("only-if")
    write = Write(
        address,
        value,
        table.whole("broadcast-unit", 0, 247) if table.has("broadcast-unit") else None,
        table.whole("count", 1, 64, 1),
        None if only_if is None else _condition(only_if),
        table.number("repeat-s", 0.1, 3_600) if table.has("repeat-s") else None,
        table.flag("is-command", False),
    )
    table.finish()
    return write


def _writes(table: TomlTable, key: str) -> tuple[Write, ...]:
    return tuple(_write(each) for each in table.tables(key))


def _orders(table: TomlTable) -> dict[Target, tuple[Write, ...]]:
    found = {target: _writes(table, target.value) for target in Target if table.has(target.value)}
    for target in (Target.REST, Target.SUPPLY):
        if not found.get(target):
            raise ConfigError(
                f"{table.where(target.value)} is missing: "
                "give a list of writes like [{ coil = 400, value = 1 }]"
            )
    return found


def _fallback(table: TomlTable | None) -> Fallback:
    if table is None:
        return Fallback()
    found = Fallback(
        table.number("after-s", 0.1, 86_400) if table.has("after-s") else None,
        Milliamps(round(table.number("current-a", 0, 80) * 1000))
        if table.has("current-a")
        else None,
        _scale(table.optional_table("after"), "per-second"),
        _scale(table.optional_table("current"), "per-ampere"),
        _scale(table.optional_table("restart-current"), "per-ampere"),
    )
    table.finish()
    return found
