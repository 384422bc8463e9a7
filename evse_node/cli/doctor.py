"""`evse-node doctor`: one check for each part of a board, and a table of its wiring.

The contactor stays open: outputs are only driven inactive, except for the reset of a tripped
RCD, and the pilot stays at -12 V.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from evse_node.errors import EvseNodeError
from evse_node.hal.gpio.board import (
    EMERGENCY_STOP,
    HEARTBEAT,
    RCD_RESET,
    RCD_TEST,
    RCD_TRIP,
    Board,
)
from evse_node.hal.gpio.drivers import Drivers, Inputs
from evse_node.hal.gpio.pilot_adc import measure_pilot, measure_plug
from evse_node.hal.gpio.sampler import is_close_to
from evse_node.hal.gpio.specs import (
    AdcSpec,
    Ds18b20Spec,
    HeartbeatSpec,
    HwmonSpec,
    I2cAdcSpec,
    LineSpec,
    ModbusMeterSpec,
    Pn532I2cSpec,
    Pn532UartSpec,
    RfidSpec,
    TemperatureSpec,
)
from evse_node.hal.gpio.thermometers import read_plausible
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.proximity_pilot import ampacity

_TOLERANCE_MV: Final = 1_500
_RELEASE_S: Final = 0.1
_PAUSES: Final = 200
_NO_PERSISTENCE: Final = "pinctrl_bcm2835.persist_gpio_outputs=n"
_BOOT_CONFIG: Final = Path("/boot/firmware/config.txt")


class Check(NamedTuple):
    """Result for one part: whether it passed, and the finding or remedy."""

    part: str
    is_fine: bool
    text: str


def examine(board: Board, drivers: Drivers, boot_config: Path = _BOOT_CONFIG) -> Iterator[Check]:
    """Check every part of the board, in the order of its wiring."""
    for name, spec in board.outputs().items():
        yield _try(name, partial(_output, drivers, name, spec))
    if board.heartbeat is not None:
        yield _pauses(board.heartbeat)
    if board.inputs():
        yield from _inputs(board, drivers)
    yield from _pilot(board, drivers)
    if board.meter is not None and board.meter.pulse is None:
        yield _try("meter", partial(_meter, drivers, board.meter, board.ratings.phases))
    if board.grid_meter is not None:
        yield _try("grid meter", partial(_grid_meter, drivers, board.grid_meter))
    if board.rfid is not None:
        yield _try("RFID reader", partial(_rfid, drivers, board.rfid))
    if board.temperature is not None:
        yield _try("thermometer", partial(_temperature, drivers, board.temperature))
    if board.watchdog is not None:
        yield _watchdog(board.watchdog.device)
    if boot_config.exists():
        yield _boot(boot_config)


def _try(part: str, check: Callable[[], str]) -> Check:
    try:
        return Check(part, True, check())
    except Exception as error:
        return Check(part, False, str(error) or repr(error))


def _output(drivers: Drivers, name: str, spec: LineSpec) -> str:
    drivers.open_output(name, spec).close()
    return f"line {spec.line} is free, and was driven inactive"


def _inputs(board: Board, drivers: Drivers) -> Iterator[Check]:
    try:
        inputs = drivers.open_inputs(board.inputs())
    except (EvseNodeError, OSError) as error:
        yield Check("inputs", False, str(error))
        return
    try:
        if board.rcd is not None and board.rcd.reset is not None:
            yield _try("RCD's latch", partial(_reset, board, drivers, inputs))
        for name in board.inputs():
            is_active = inputs.is_active(name)
            state = "active" if is_active else "inactive"
            if "mirror" in name and is_active:
                yield Check(
                    name, False, "reports closed though no coil is driven: is it wired to the "
                    "mirror contact, is `active` right, is the contactor welded?"
                )  # fmt: skip
            elif is_active and name in (RCD_TRIP, EMERGENCY_STOP):
                yield Check(name, False, "is active: release it, or correct `active`")
            else:
                yield Check(name, True, f"is {state}")
    except OSError as error:
        yield Check("inputs", False, str(error))
    finally:
        inputs.close()


def _reset(board: Board, drivers: Drivers, inputs: Inputs) -> str:
    """Reset a latch, which may be in any state after power-on."""
    if board.rcd is None or not inputs.is_active(RCD_TRIP):
        return "not needed"
    with closing(drivers.open_output(RCD_RESET, board.outputs()[RCD_RESET])) as line:
        try:
            line.set(True)
            time.sleep(board.rcd.reset_ms / 1000)
        finally:
            # Also after an interrupt: a released line may keep its level.
            line.set(False)
    time.sleep(_RELEASE_S)
    if inputs.is_active(RCD_TRIP):
        raise EvseNodeError("the RCD stays tripped after its reset")
    return "the RCD was tripped, and released by its reset"


def _pauses(spec: HeartbeatSpec) -> Check:
    """Check whether this machine is fast enough, without driving a line."""
    longest_ms = longest_pause_s(spec.interval_ms / 1000) * 1000
    found = f"edges would come after {longest_ms:.1f} ms at the latest"
    if longest_ms > spec.limit_ms:
        found += f", and the board waits for {spec.limit_ms:g}: what else runs here?"
    return Check("heartbeat's pace", longest_ms <= spec.limit_ms, found)


def longest_pause_s(interval_s: float) -> float:
    """Return the longest actual duration of many pauses of this length."""
    longest_s, before = 0.0, time.monotonic()
    for _ in range(_PAUSES):
        time.sleep(interval_s)
        now = time.monotonic()
        longest_s, before = max(longest_s, now - before), now
    return longest_s


def _pilot(board: Board, drivers: Drivers) -> Iterator[Check]:
    opened = ExitStack()

    def find_pwm() -> str:
        opened.enter_context(closing(drivers.open_pwm(board.pilot)))
        return f"channel {board.pilot.pwm_channel} works, at constant -12 V"

    def measure() -> str:
        adc = opened.enter_context(closing(drivers.open_adc(board.adc)))
        voltages = measure_pilot(adc, board.pilot)
        if not is_close_to(PilotState.F, voltages, _TOLERANCE_MV):
            raise EvseNodeError(
                f"measures {voltages.high_mv} mV where -12000 mV is driven: "
                "is the supply on, the divider connected, the calibration right?"
            )
        found = f"measures {voltages.high_mv} mV at the pilot"
        if board.proximity is not None:
            ohms = measure_plug(adc, board.proximity)
            cable = None if ohms is None else ampacity(ohms)
            plug = "no plug" if ohms is None else f"{ohms} ohms at the plug"
            found += f", {plug}" + ("" if cable is None else f" ({cable // 1000} A)")
        return found

    with opened:
        yield _try("pilot PWM", find_pwm)
        yield _try("converter", measure)


def _meter(drivers: Drivers, spec: ModbusMeterSpec, phases: int) -> str:
    with closing(drivers.open_meter(spec)) as source:
        values = source.read()
    volts = ", ".join(f"{voltage / 1000:.1f}" for voltage in values.voltages_mv)
    if (found := len(values.voltages_mv)) != phases:
        raise EvseNodeError(f"has {found} phases where ratings.phases is {phases}")
    return f"shows {values.imported_mwh / 1e6:.3f} kWh, {values.power_mw / 1000:.0f} W, {volts} V"


def _grid_meter(drivers: Drivers, spec: ModbusMeterSpec) -> str:
    with closing(drivers.open_meter(spec)) as source:
        power_w = source.read().power_mw / 1000
    way = "fed into the grid" if power_w < 0 else "drawn from the grid"
    return f"shows {abs(power_w):.0f} W {way}"


def _rfid(drivers: Drivers, spec: RfidSpec) -> str:
    with closing(drivers.open_rfid(spec)) as source:
        uid = source.poll()
    return "answers" if uid is None else f"answers, and reads the card {uid.hex()}"


def _temperature(drivers: Drivers, spec: TemperatureSpec) -> str:
    with closing(drivers.open_temperature(spec)) as source:
        return f"shows {read_plausible(source) / 1000:.1f} degrees Celsius"


def _watchdog(device: str) -> Check:
    # Not opened: that would start it.
    if not Path(device).exists():
        return Check("watchdog", False, f"{device} does not exist: dtparam=watchdog=on, or softdog")
    return Check("watchdog", True, f"{device} exists (it is not opened here)")


def _boot(file: Path) -> Check:
    """Check that the kernel releases lines of a dead process, which a Raspberry Pi does not."""
    for line in file.read_text(errors="replace").splitlines():
        if "strict_gpiod" in line.partition("#")[0]:
            return Check("kernel", True, f"strict_gpiod is set in {file}")
    command_line = file.with_name("cmdline.txt")
    if command_line.exists() and _NO_PERSISTENCE in command_line.read_text(errors="replace"):
        return Check("kernel", True, f"{_NO_PERSISTENCE} is set in {command_line}")
    return Check(
        "kernel",
        False,
        f"lines may stay driven when the node dies: add dtparam=strict_gpiod to {file}",
    )


# The wiring table


def wiring(board: Board) -> list[tuple[str, str, str]]:
    """Return rows of part, connection and settings, headings first."""
    rows = [("part", "connection", "settings")]
    for name, spec in board.outputs().items():
        how = ", ".join([_how(spec), *_pulses(board, name)])
        rows.append((f"{name} (out)", _where(spec), how))
    for name, spec in board.inputs().items():
        rows.append((f"{name} (in)", _where(spec), _how(spec)))
    pilot, bus = board.pilot, _bus(board.adc)
    rows.append(
        (
            "pilot PWM (out)",
            f"{' or '.join(pilot.devices)}, channel {pilot.pwm_channel}",
            "1 kHz, inverted" if pilot.is_inverted else "1 kHz",
        )
    )
    how = f"burst of {pilot.burst}" if pilot.low_channel is None else "peak detector"
    rows.append(("pilot voltage (in)", f"{bus}, channel {pilot.channel}", how))
    if pilot.low_channel is not None:
        rows.append(("pilot low level (in)", f"{bus}, channel {pilot.low_channel}", how))
    if board.proximity is not None:
        plug = board.proximity
        how = f"{plug.pull_up_ohm} ohms to {plug.supply_mv} mV"
        rows.append(("proximity pilot (in)", f"{bus}, channel {plug.channel}", how))
    for name, meter in (("meter", board.meter), ("grid meter", board.grid_meter)):
        if meter is not None and meter.map:
            modbus = meter.modbus
            where = f"{modbus.host}:{modbus.tcp_port}" if modbus.host else modbus.port
            line = "" if modbus.host else f", {modbus.baud} {modbus.parity}"
            rows.append((f"{name} {meter.map}", where, f"unit {modbus.unit}{line}"))
    if board.rfid is not None:
        rows.append((f"RFID reader {board.rfid.kind}", *_reader(board.rfid)))
    if board.temperature is not None:
        rows.append((f"thermometer {board.temperature.kind}", *_thermometer(board.temperature)))
    return rows


def _reader(spec: RfidSpec) -> tuple[str, str]:
    match spec:
        case Pn532UartSpec():
            return spec.port, ""
        case Pn532I2cSpec():
            return f"/dev/i2c-{spec.bus}", f"address 0x{spec.address:02x}"
        case _:
            return f"/dev/spidev{spec.bus}.{spec.chip_select}", ""


def _thermometer(spec: TemperatureSpec) -> tuple[str, str]:
    match spec:
        case Ds18b20Spec():
            return "1-Wire", spec.id
        case HwmonSpec():
            return f"hwmon {spec.name}", f"temp{spec.input}_input"
        case _:
            return f"/dev/i2c-{spec.bus}", f"address 0x{spec.address:02x}"


def _where(spec: LineSpec) -> str:
    return spec.line if isinstance(spec.line, str) else f"line {spec.line}"


def _how(spec: LineSpec) -> str:
    words = ["active low" if spec.is_active_low else "active high"]
    if spec.bias.value != "as-is":
        words.append(spec.bias.value)
    if spec.debounce_ms:
        words.append(f"debounce {spec.debounce_ms} ms")
    return ", ".join(words)


def _pulses(board: Board, name: str) -> list[str]:
    """Describe the signal of a line that is not just switched."""
    heartbeat, rcd = board.heartbeat, board.rcd
    if heartbeat is not None and name == HEARTBEAT:
        when = "always" if heartbeat.is_always else "while closed"
        return [f"an edge each {heartbeat.interval_ms:g} ms {when}, at most {heartbeat.limit_ms:g}"]
    if rcd is not None and name == RCD_TEST and rcd.test_hz:
        return [f"{rcd.test_hz} Hz"]
    if rcd is not None and name == RCD_RESET:
        return [f"pulse of {rcd.reset_ms} ms"]
    return []


def _bus(spec: AdcSpec) -> str:
    if isinstance(spec, I2cAdcSpec):
        return f"{spec.kind} on /dev/i2c-{spec.bus} at 0x{spec.address:02x}"
    return f"{spec.kind} on /dev/spidev{spec.bus}.{spec.chip_select}"
