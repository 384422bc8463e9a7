"""Composition root: one node, from its settings to a running charger on the network.

    async with EvseNode(NodeConfig(storage=Path("state"))) as node:
        print(node.qr_code)
        node.car.plug_in()

Any number of nodes may run in one process, each with a storage folder and a port of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self

from evse_node.charger import Charger, Snapshot
from evse_node.config.node_config import NodeConfig
from evse_node.config.values import HostPort
from evse_node.errors import EvseNodeError, HalError
from evse_node.hal.interface import EvseBackend
from evse_node.hal.registry import create_backend
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.fabrics.fabric import is_decommissioned
from evse_node.matter.stack import MatterStack
from evse_node.node.assembly import Assembly
from evse_node.node.factory_data import KEPT_BY_FACTORY_RESET, KEPT_WITHOUT_FABRICS, FactoryData
from evse_node.platform.dns_sd import MdnsAdvertiser
from evse_node.platform.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from evse_node.node.control.server import ControlServer

_LOGGER: Final = logging.getLogger(__name__)


class _Watcher:
    """Observer of a node, called once for all changes within `settling_s`."""

    def __init__(self, observer: Callable[[], None], settling_s: float) -> None:
        self._observer = observer
        self._settling_s = settling_s
        self._timer: asyncio.TimerHandle | None = None

    def on_change(self) -> None:
        """Schedule a call, unless one is scheduled."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settling_s, self._call)

    def cancel(self) -> None:
        """Cancel the scheduled call."""
        if self._timer is not None:
            self._timer.cancel()

    def _call(self) -> None:
        self._timer = None
        try:
            self._observer()
        except Exception:  # a closed console, for instance
            _LOGGER.exception("an observer of the node failed")


class EvseNode:
    """One node. `backend` replaces the one that the settings name.

    Most properties exist while the node runs, and raise RuntimeError otherwise.
    """

    def __init__(self, config: NodeConfig, *, backend: EvseBackend | None = None) -> None:
        self.config = config
        self._backend = backend
        self._port = config.port
        self._store: SqliteStore | None = None
        self._assembly: Assembly | None = None
        self._control: ControlServer | None = None
        self._control_address: HostPort | None = None
        # Serializes start, stop, factory reset and removal of the last fabric.
        self._lifecycle = asyncio.Lock()
        self._restart_task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._has_failed = asyncio.Event()
        self._watchers: list[_Watcher] = []

    # Lifecycle

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything; on return, the node can be discovered and commissioned.

        Raises ConfigError for settings that cannot be used here, HalError when the hardware
        is missing, and RuntimeError for a node that is running.
        """
        async with self._lifecycle:
            if self._store is not None:
                raise RuntimeError("the node is running")
            self._has_failed.clear()
            try:
                if self._backend is None:
                    self._backend = create_backend(self.config.backend, self.config.hal)
                self._store = SqliteStore(self.config.storage)
                await self._start_assembly(self._store, self._backend)
                await self._start_control()
            except BaseException:
                await self._close()
                raise

    async def stop(self) -> None:
        """Open the contactor, leave the network, and close. May be repeated."""
        async with self._lifecycle:
            await self._close()
        # A task that is done may belong to a loop that is closed.
        if self._restart_task is not None and not self._restart_task.done():
            await asyncio.wait((self._restart_task,))

    async def wait_failed(self) -> NoReturn:
        """Wait until the node has stopped because a restart failed.

        Raises the cause, such as HalError.
        """
        await self._has_failed.wait()
        assert self._failure is not None
        raise self._failure

    async def factory_reset(self) -> None:
        """Erase fabrics and all settings made over Matter, and restart.

        Raises StorageError when the disk fails: the node has restarted then, but answers no
        request until it can commit. Raises HalError when the hardware does not start again;
        the node has stopped then.
        """
        async with self._lifecycle:
            store, backend = self._store, self._backend
            if store is None or backend is None:
                raise RuntimeError("the node is not running")

            def erase() -> None:
                store.erase(KEPT_BY_FACTORY_RESET)
                store.commit()

            await self._restart(store, backend, erase)
        self._notify()

    def _on_decommissioned(self) -> None:
        loop = asyncio.get_running_loop()
        self._restart_task = loop.create_task(self._restart_decommissioned())

    async def _restart_decommissioned(self) -> None:
        async with self._lifecycle:
            store, backend = self._store, self._backend
            # A stop or a factory reset may have come first.
            if store is None or backend is None or not is_decommissioned(store):
                return
            _LOGGER.info("the last fabric is removed: its data is erased")
            try:
                await self._restart(store, backend)
            except EvseNodeError as error:
                _LOGGER.critical("the node could not restart: %s", error)
            except Exception:
                _LOGGER.critical("the node could not restart", exc_info=True)
        self._notify()

    async def _restart(
        self, store: SqliteStore, backend: EvseBackend, between: Callable[[], None] | None = None
    ) -> None:
        """Stop, call `between`, and start even if that fails."""
        try:
            await self._stop_assembly()
            try:
                if between is not None:
                    between()
            finally:
                await self._start_assembly(store, backend)
        except Exception as error:
            if not self.is_running:
                self._failure = error
                self._has_failed.set()
            raise

    async def _start_assembly(self, store: SqliteStore, backend: EvseBackend) -> None:
        if is_decommissioned(store):
            # Also after a power cut at this point. The first answer waits for the commit.
            store.erase(KEPT_WITHOUT_FABRICS)
        self._assembly = Assembly(
            self.config, store, backend, self._port, self._notify, self._on_decommissioned
        )
        self._port = self._assembly.port
        try:
            await self._assembly.start()
        except BaseException:
            await self._stop_assembly()
            raise

    async def _stop_assembly(self) -> None:
        assembly, self._assembly = self._assembly, None
        if assembly is not None:
            await assembly.stop()

    async def _close(self) -> None:
        async with contextlib.AsyncExitStack() as closing:
            # In reverse order; a failure of one does not skip the others.
            closing.callback(self._close_store)
            closing.push_async_callback(self._stop_control)
            closing.push_async_callback(self._stop_assembly)

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    async def _start_control(self) -> None:
        if self.config.control is None:
            return
        # After the announcement, so that discovery does not wait for it.
        from evse_node.node.control.node_control import NodeControl
        from evse_node.node.control.server import ControlServer
        from evse_node.platform.control_file import write_control_file

        control = NodeControl(self.config, lambda: self._assembly, self.factory_reset, self.watch)
        self._control = ControlServer(control)
        self._control_address = await self._control.start(self.config.control)
        try:
            write_control_file(self.config.storage, self._control_address)
        except OSError as error:
            # Charging does not depend on it.
            _LOGGER.warning("commands cannot find the control API by the folder: %s", error)

    async def _stop_control(self) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        if self._control_address is not None:
            from evse_node.platform.control_file import remove_control_file

            with contextlib.suppress(OSError):
                remove_control_file(self.config.storage)
            self._control_address = None
        await control.close()

    # Observers

    def watch(self, observer: Callable[[], None], *, settling_s: float = 0.0) -> Callable[[], None]:
        """Call `observer` soon after every change; return what ends that.

        With `settling_s`, the call follows the first change by this time and covers all until then.
        """
        watcher = _Watcher(observer, settling_s)
        self._watchers.append(watcher)

        def unwatch() -> None:
            watcher.cancel()
            with contextlib.suppress(ValueError):
                self._watchers.remove(watcher)

        return unwatch

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher.on_change()

    def wake(self) -> None:
        """Have the stack process changes made from outside, without waiting for its timer."""
        if self._assembly is not None:
            self._assembly.runtime.wake()

    # Properties

    @property
    def _running(self) -> Assembly:
        if self._assembly is None:
            raise RuntimeError("the node is not running")
        return self._assembly

    @property
    def is_running(self) -> bool:
        """Whether the node is started."""
        return self._assembly is not None

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._port

    @property
    def control_address(self) -> HostPort | None:
        """The address of the control API, or None without one."""
        return self._control_address

    @property
    def factory(self) -> FactoryData:
        """Passcode, discriminator, serial number and attestation."""
        return self._running.factory

    @property
    def qr_code(self) -> str:
        """The text of the QR code, beginning with "MT:"."""
        return self._running.factory.onboarding.qr_code()

    @property
    def manual_code(self) -> str:
        """The manual pairing code, 11 digits."""
        return self._running.factory.onboarding.manual_code()

    @property
    def stack(self) -> MatterStack:
        """The Matter stack. After changing something in it, call `wake`."""
        return self._running.stack

    @property
    def charger(self) -> Charger:
        """The charger. After handling an event with it, call `wake`."""
        return self._running.charger

    @property
    def mdns(self) -> MdnsAdvertiser:
        """The DNS-SD advertiser."""
        return self._running.mdns

    @property
    def state(self) -> Snapshot:
        """The charger's state now."""
        return self._running.charger.snapshot()

    @property
    def car(self) -> SimulatedBackend:
        """The simulated car and its board. Raises HalError with real hardware."""
        backend = self._running.backend
        if not isinstance(backend, SimulatedBackend):
            raise HalError(f"the backend '{self.config.backend}' has no simulated car")
        return backend
