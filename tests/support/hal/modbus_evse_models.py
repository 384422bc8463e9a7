"""Models of EVSE controllers: a vehicle, a relay, a current, registers, and a clock.

The clock moves by `advance`. `modbus_evse_peer` puts servers in front of them.
"""

from __future__ import annotations

import struct

COILS, HOLDING, INPUT = "coil", "holding", "input"


class Controller:
    """Base of the models: a vehicle in state A, B or C, and a relay that opens when it leaves C."""

    unit = 1
    vehicle = "A"
    cable_a = 32
    is_closed = False
    now = 0.0
    car_a = 16.0
    energy_wh = 0.0

    def __init__(self) -> None:
        self.writes: list[tuple[str, int, int]] = []

    def read(self, table: str, address: int) -> int | None:
        """Return a register, or None for a missing one."""
        raise NotImplementedError

    def write(self, table: str, address: int, value: int) -> bool:
        raise NotImplementedError

    def refresh(self) -> None:
        """Update the relay after a change."""
        raise NotImplementedError

    def restart(self) -> None:
        """Restart after a loss of power."""
        raise NotImplementedError

    def is_addressed(self, unit: int) -> bool:
        return unit == self.unit

    def is_broadcast(self, unit: int) -> bool:
        return False

    @property
    def limit_a(self) -> float:
        """Current offered now."""
        raise NotImplementedError

    def turn_to(self, vehicle: str) -> None:
        self.vehicle = vehicle
        self.refresh()

    @property
    def current_a(self) -> float:
        return min(self.car_a, self.limit_a) if self.is_closed else 0.0

    def advance(self, seconds: float) -> None:
        self.energy_wh += self.current_a * 230 * 3 * seconds / 3600
        self.now += seconds
        self.refresh()


class SimpleEvse(Controller):
    """SimpleEVSE, by the EVSE-WB/DIN manual."""

    def __init__(self, boot_a: int = 32) -> None:
        super().__init__()
        self.eeprom = {2000: boot_a, 2001: 1, 2002: 6, 2003: 0, 2004: 0, 2005: 0}
        self.failures = 0
        self.restart()

    def restart(self) -> None:
        self.configured = self.eeprom[2000]
        self.command = 0
        self.refresh()

    @property
    def limit_a(self) -> float:
        return self.configured / (100 if self.eeprom[2005] & 0x80 else 1)

    @property
    def has_pwm(self) -> bool:
        return self.limit_a >= 6 and not self.command & 1 and not self.failures

    def refresh(self) -> None:
        self.is_closed = self.vehicle == "C" and self.has_pwm

    def read(self, table: str, address: int) -> int | None:
        if table != HOLDING:
            return None
        vehicle = 5 if self.failures else {"A": 1, "B": 2, "C": 3}[self.vehicle]
        state = 3 if self.command & 1 else 2 if self.has_pwm else 1
        return {
            1000: self.configured,
            1001: self.configured if self.has_pwm else 0,
            1002: vehicle,
            1003: 5 if self.vehicle == "A" else self.cable_a,
            1004: self.command,
            1005: 18,
            1006: state,
            1007: self.failures | self.is_closed,
            **self.eeprom,
        }.get(address)

    def write(self, table: str, address: int, value: int) -> bool:
        if table != HOLDING or address not in (1000, 1004, *self.eeprom):
            return False
        self.writes.append((table, address, value))
        if address == 1000:
            self.configured = value
        elif address == 1004:
            self.command = value
        else:
            self.eeprom[address] = value
        self.refresh()
        return True


class Phoenix(Controller):
    """Phoenix EM-CP-PP-ETH with a meter, by manual 104924."""

    unit = 180

    def __init__(self) -> None:
        super().__init__()
        self.errors = 0
        self.restart()

    def restart(self) -> None:
        self.setting_a, self.is_enabled = 16, False
        self.refresh()

    @property
    def limit_a(self) -> float:
        return self.setting_a

    def refresh(self) -> None:
        self.is_closed = self.vehicle == "C" and self.is_enabled and not self.errors

    def read(self, table: str, address: int) -> int | None:
        if table == COILS:
            return int(self.is_enabled) if address == 400 else None
        if table == HOLDING:
            return self.setting_a if address == 300 else None
        plain = {
            100: ord(self.vehicle),
            101: 0 if self.vehicle == "A" else self.cable_a,
            107: self.errors,
        }
        wide = {
            102: 0,
            105: 430,
            **dict.fromkeys((108, 110, 112), 23_000),
            **dict.fromkeys((114, 116, 118), round(self.current_a * 1000)),
            120: round(self.current_a * 230 * 3 / 10),
            122: 0,
            124: 0,
            126: 0,
            128: round(self.energy_wh / 10),
        }
        if address in plain:
            return plain[address]
        if address in wide:
            return wide[address] & 0xFFFF
        return wide[address - 1] >> 16 if address - 1 in wide else (0 if address == 104 else None)

    def write(self, table: str, address: int, value: int) -> bool:
        self.writes.append((table, address, value))
        if (table, address) == (HOLDING, 300) and 6 <= value <= 80:
            self.setting_a = value
        elif (table, address) == (COILS, 400):
            self.is_enabled = bool(value)
        else:
            return False
        self.refresh()
        return True


class SmartEvse(Controller):
    """SmartEVSE as a node of load balancing, by SmartEVSE-3's main.cpp."""

    unit = 2
    A, B, C, COMM_B, COMM_B_OK, COMM_C, COMM_C_OK, B1, C1 = 0, 1, 2, 4, 5, 6, 7, 9, 10

    def __init__(self) -> None:
        super().__init__()
        self.maximum_a = 32
        self.restart()

    def restart(self) -> None:
        self.state, self.errors, self.balanced = self.A, 0, 0
        self.heard_at = self.state_at = self.now
        self.refresh()

    def is_broadcast(self, unit: int) -> bool:
        return unit == 9

    @property
    def limit_a(self) -> float:
        return self.balanced / 10

    def _go(self, state: int) -> None:
        if state != self.state:
            self.state, self.state_at = state, self.now

    def refresh(self) -> None:
        before = None
        while before != self.state:
            before = self.state
            self._step()
        self.is_closed = self.state in (self.C, self.C1)

    def _step(self) -> None:
        if self.now - self.heard_at >= 11:
            if not self.errors & 2:
                self._cut_off()
            self.errors |= 2
        elif self.errors & 2:
            self.errors &= ~2
        state, waited = self.state, self.now - self.state_at
        if self.vehicle == "A":
            self._go(self.A)
        elif state == self.A or (state == self.B1 and waited >= 3):
            if not self.errors:
                self._go(self.COMM_B)
        elif state == self.COMM_B_OK:
            self._go(self.B)
        elif state == self.B and self.vehicle == "C" and not self.errors:
            self._go(self.COMM_C)
        elif state == self.COMM_C_OK:
            self._go(self.C)
        elif state in (self.C, self.COMM_C) and self.vehicle == "B":
            self._go(self.B)
        elif state == self.C1 and (self.vehicle == "B" or waited >= 6):
            self._go(self.B1)

    def _cut_off(self) -> None:
        if self.state == self.C:
            self._go(self.C1)
        elif self.state not in (self.A, self.C1):
            self._go(self.B1)

    def read(self, table: str, address: int) -> int | None:
        registers = [self.state, self.errors, self.balanced, 0, 0, 1, 0, self.maximum_a, 0, 0, 298]
        return registers[address] if table != COILS and address < len(registers) else None

    def write(self, table: str, address: int, value: int) -> bool:
        self.writes.append((table, address, value))
        if address == 0x20 + self.unit - 1:
            self.balanced, self.heard_at = value, self.now
            if value == 0 and self.state == self.C:
                self._go(self.C1)
        elif address == 0:
            self._go(value)
        elif address == 1:
            self.errors = value
        self.refresh()
        return True


class Meter(Controller):
    """An SDM630 on the same bus."""

    unit = 105

    def __init__(self, evse: Controller) -> None:
        super().__init__()
        self.evse = evse

    def refresh(self) -> None:
        pass

    def read(self, table: str, address: int) -> int | None:
        evse = self.evse
        values = {
            **dict.fromkeys((0x00, 0x02, 0x04), 230.0),
            **dict.fromkeys((0x06, 0x08, 0x0A), evse.current_a),
            0x34: evse.current_a * 230 * 3,
            0x46: 50.0,
            0x48: evse.energy_wh / 1000,
        }
        words = struct.unpack(">HH", struct.pack(">f", values.get(address & ~1, 0.0)))
        return words[address & 1] if table == INPUT and address < 0x50 else None
