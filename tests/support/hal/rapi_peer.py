"""Model of an OpenEVSE controller with a vehicle, by the RAPI protocol document.

`OpenEvseModel` converts received bytes to answers, by a clock of the test. `ModelPort` is a port
to it without delay, `PtyPeer` a pseudo-terminal served by a thread.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable

from evse_node.errors import HalError

A, B, C, D = 0x01, 0x02, 0x03, 0x04
DIODE, GFCI, NO_GROUND, STUCK, GFCI_TEST, HOT, OVER_CURRENT = range(0x05, 0x0C)
SLEEPING, DISABLED = 0xFE, 0xFF
HARD_FAULT, RELAY, CONNECTED = 0x0002, 0x0040, 0x0100
LOWEST_A = 6


class OpenEvseModel:
    """The controller. `car` is the vehicle's state: A, B or C.

    A vehicle that `is_stubborn` does not stop when the PWM ends. `fault` is a state that the
    controller enters; without `has_heartbeats` its firmware has no supervision; while `is_mute`
    it sends nothing.
    """

    def __init__(self, clock: Callable[[], float], *, debounce_s: float = 0.25) -> None:
        self.clock = clock
        self.debounce_s = debounce_s
        self.configured_a = 32
        self.car = A
        self.is_stubborn = False
        self.car_current_ma = 16_000
        self.fault = 0
        self.is_hot = False
        self.is_mute = False
        self.is_welded = False
        self.has_heartbeats = True
        self.has_lock = False
        self.has_lock_out = False
        self.is_locked_out = False
        self.has_voltmeter = False
        self.has_ammeter = True
        self.boot_s = 0.0
        self.tenths_c = [231, -2560, 254]
        self.finished_wh = 1_000
        self.heartbeat = [0, 0]
        self.is_locked = False
        self.restarts = 0
        self.log: list[str] = []
        self.events: list[tuple[str, float]] = []
        self._input = b""
        self._unsent = b""
        self._boot()
        self._booting_until: float | None = None

    def _boot(self) -> None:
        now = self.clock()
        self.state = 0
        self.is_pwm = False
        self.is_closed = False
        self.amperes = self.configured_a
        self.millivolts = 240_000
        self.is_lock_manual = False
        self.is_locked_out = self.has_lock_out
        self.is_missed = 0
        self._pulse_at = now
        self._seen = (0, now)
        self._closing_off_at: float | None = None
        self._session_ws = 0.0
        self._is_connected = False
        self._updated_at = now
        self._notified: tuple[int, ...] = ()

    # Actions

    def restart(self) -> None:
        """Restart after a loss of power."""
        self._set_relay(False)
        self.restarts += 1
        self._boot()
        self._booting_until = self.clock() + self.boot_s

    def press(self, name: str) -> None:
        """Carry out a command as if given at the controller itself."""
        self._carry_out(name, [])

    @property
    def is_powered(self) -> bool:
        """Whether the socket is live."""
        return self.is_closed or self.is_welded

    @property
    def current_ma(self) -> int:
        is_drawing = self.is_closed and self.car == C
        return min(self.car_current_ma, self.amperes * 1_000) if is_drawing else 0

    # Time

    def update(self) -> bytes:
        """Process expired deadlines; return the notifications."""
        now = self.clock()
        if self._booting_until is not None:
            if now < self._booting_until:
                return b""
            self._booting_until = None
            self._notify("AB 00 8.2.3")
        self._count_energy(now)
        interval, fallback_a = self.heartbeat
        is_watching = interval > 0 and self.state not in (SLEEPING, DISABLED)
        if is_watching and now - self._pulse_at > interval:
            self.amperes = min(self.amperes, max(fallback_a, LOWEST_A))
            self.is_missed, self._pulse_at = 2, now
        self._decide(now)
        status = (self.state, self.amperes, self._flags() & (CONNECTED | HARD_FAULT))
        if status != self._notified and self.state:
            self._notified = status
            self._notify(f"AT {self.state:02x} {self.state:02x} {self.amperes} {self._flags():04x}")
        unsent, self._unsent = self._unsent, b""
        return b"" if self.is_mute else unsent

    def _decide(self, now: float) -> None:
        if self.state == DISABLED:
            return
        was_connected, self._is_connected = self._is_connected, self.car != A
        if self._is_connected and not was_connected:
            self._session_ws = 0.0
        elif was_connected and not self._is_connected:
            self.finished_wh += int(self._session_ws) // 3600
        if self.state == SLEEPING:
            since = self._closing_off_at
            grace_s = 3.0 if self.is_stubborn else 0.5
            if self.is_closed and since is not None and (self.car != C or now - since >= grace_s):
                self._set_relay(False)
            return
        if self.fault:
            self.state, self.is_pwm = self.fault, False
            self._set_relay(False)
            return
        if DIODE <= self.state <= 0x0E:
            self.state = 0
        wanted = self.car
        if wanted == C and (not self.is_pwm or self.is_locked_out):
            wanted = B
        if wanted != self._seen[0]:
            self._seen = (wanted, now)
        delay_s = 0.025 if wanted == A else self.debounce_s
        if wanted != self.state and now - self._seen[1] >= delay_s:
            self.state = wanted
            if wanted == A:
                self.is_locked_out = self.has_lock_out
            self.is_pwm = wanted != A and not self.is_locked_out
            self._set_relay(wanted == C)

    def _set_relay(self, is_closed: bool) -> None:
        if is_closed is not self.is_closed:
            self.is_closed = is_closed
            self.events.append(("closed" if is_closed else "open", self.clock()))

    def _count_energy(self, now: float) -> None:
        watts = self.current_ma * self.millivolts / 1e6
        self._session_ws += watts * (now - self._updated_at)
        self._updated_at = now

    def _flags(self) -> int:
        flags = RELAY if self.is_closed else 0
        flags |= CONNECTED if self._is_connected else 0
        return flags | (HARD_FAULT if self.fault == STUCK else 0)

    # Commands

    def receive(self, data: bytes) -> bytes:
        """Process bytes. Return answers and notifications."""
        output = self.update()
        if self._booting_until is not None:
            return output
        self._input += data
        while b"\r" in self._input:
            line, _, self._input = self._input.partition(b"\r")
            start = line.rfind(b"$")
            if start >= 0:
                output += self._answer(line[start:])
        if self.is_mute:
            return b""
        return output + self.update()

    def _answer(self, line: bytes) -> bytes:
        body, _, digits = line.partition(b"^")
        if len(line) > 31 or digits != f"{_xor(body):02X}".encode():
            return sealed("NK")
        words = body[1:].decode().split()
        sequence = ""
        if words[-1].startswith(":"):
            sequence = words.pop()
        self.log.append(" ".join(words))
        is_ok, text = self._carry_out(words[0], words[1:])
        if text is None:
            return b""
        return sealed(" ".join(word for word in ("OK" if is_ok else "NK", text, sequence) if word))

    def _carry_out(self, name: str, words: list[str]) -> tuple[bool, str | None]:
        match name, words:
            case "GV", []:
                return True, "8.2.3 5.2.1"
            case "GS", []:
                return True, f"{self.state:02x} 0 {self.state:02x} {self._flags():04x}"
            case "GC", []:
                return True, f"6 80 {self.amperes} {self.configured_a}"
            case "GG", []:
                return True, f"{self.current_ma if self.has_ammeter else -1} {self.millivolts}"
            case "GU", []:
                return True, f"{int(self._session_ws)} {self.finished_wh}"
            case "GP", []:
                return True, " ".join(map(str, self.tenths_c))
            case "GF", []:
                return True, "0 0 0"
            case "FE", []:
                if self.state in (SLEEPING, DISABLED):
                    self.state, self.is_pwm, self._seen = 0, False, (0, self.clock())
            case "FS", []:
                if self.state != SLEEPING:
                    self.state, self.is_pwm = SLEEPING, False
                    self._closing_off_at = self.clock()
            case "FD", []:
                self.state, self.is_pwm = DISABLED, False
                self._set_relay(False)
            case "FR", []:
                self.restart()
                return True, None
            case "SC", [amperes, "V"]:
                return self._set_amperes(int(amperes))
            case "SV", [millivolts] if not self.has_voltmeter:
                self.millivolts = int(millivolts)
            case "S4", [wish] if self.has_lock_out:
                self.is_locked_out = wish == "1"
                self.is_pwm = self.state == B and not self.is_locked_out
            case "S5", [wish] if self.has_lock:
                return self._lock(wish), ""
            case "SY", _ if self.has_heartbeats:
                return self._supervise([int(word) for word in words])
            case _:
                return False, ""
        return True, ""

    def _set_amperes(self, amperes: int) -> tuple[bool, str]:
        if self.is_hot and amperes > self.amperes:
            return False, str(self.amperes)
        self.amperes = min(max(amperes, LOWEST_A), self.configured_a)
        return self.amperes == amperes, str(self.amperes)

    def _lock(self, wish: str) -> bool:
        if wish == "M":
            self.is_lock_manual = True
        elif self.is_lock_manual:
            self.is_locked = wish == "1"
        return wish in ("M", "0", "1")

    def _supervise(self, numbers: list[int]) -> tuple[bool, str]:
        is_ok = len(numbers) != 1
        if len(numbers) == 2:
            self.heartbeat, self.is_missed = numbers, 0
        elif not numbers:
            is_ok = self.is_missed != 2
        self._pulse_at = self.clock()
        return is_ok, f"{self.heartbeat[0]} {self.heartbeat[1]} {self.is_missed}"

    def _notify(self, text: str) -> None:
        self._unsent += sealed(text)


def _xor(body: bytes) -> int:
    found = 0
    for byte in body:
        found ^= byte
    return found


def sealed(text: str) -> bytes:
    body = b"$" + text.encode()
    return body + f"^{_xor(body):02X}\r".encode()


class ModelPort:
    """A port to a model in the same thread. `spoil` may change its output."""

    name = "model"

    def __init__(self, model: OpenEvseModel) -> None:
        self.model = model
        self.is_open = False
        self.is_missing = False
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self._on_data: Callable[[bytes], None] = lambda data: None
        self._on_lost: Callable[[str], None] = lambda reason: None

    async def open(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        if self.is_missing:
            raise HalError("model: no such device")
        self.is_open, self._on_data, self._on_lost = True, on_data, on_lost

    def close(self) -> None:
        self.is_open = False

    def write(self, data: bytes) -> None:
        if not self.is_open:
            raise ConnectionError("model: not open")
        self.deliver(self.model.receive(data))

    def deliver(self, data: bytes) -> None:
        """Pass on output of the model while the port is open."""
        if self.is_open and data:
            self._on_data(self.spoil(data))

    def pull_out(self) -> None:
        """Unplug the adapter."""
        self.is_missing = True
        if self.is_open:
            self.is_open = False
            self._on_lost("model: the device is gone")


class PtyPeer:
    """A model behind a pseudo-terminal, in real time. `device`, or `slave`, is the node's end."""

    def __init__(self, model: OpenEvseModel | None = None) -> None:
        self.model = model or OpenEvseModel(time.monotonic, debounce_s=0.02)
        self.lock = threading.Lock()
        self._master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.device = os.ttyname(self.slave)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> PtyPeer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join(2)
        for fd in (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _serve(self) -> None:
        while not self._halt.is_set():
            readable, _, _ = select.select([self._master], [], [], 0.005)
            data = os.read(self._master, 4096) if readable else b""
            with self.lock:
                output = self.model.receive(data)
            if output:
                os.write(self._master, output)
