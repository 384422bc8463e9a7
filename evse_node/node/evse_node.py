"""The composition root: one node, from its settings to a running charger on the network.

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
from evse_node.node.factory_data import KEPT, KEPT_WITHOUT_FABRICS, FactoryData
from evse_node.platform.dns_sd import MdnsAdvertiser
from evse_node.platform.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from evse_node.node.control.server import ControlServer

_LOGGER: Final = logging.getLogger(__name__)


class _Watcher:
    """Who watches a node: told soon, or when changes have had time to settle."""

    def __init__(self, observer: Callable[[], None], settling_s: float) -> None:
        self._observer = observer
        self._settling_s = settling_s
        self._notice: asyncio.TimerHandle | None = None

    def notice(self) -> None:
        """Tell of a change, together with all that come until then."""
        if self._notice is None:
            loop = asyncio.get_running_loop()
            self._notice = loop.call_later(self._settling_s, self._tell)

    def cancel(self) -> None:
        """Tell nothing more."""
        if self._notice is not None:
            self._notice.cancel()

    def _tell(self) -> None:
        self._notice = None
        try:
            self._observer()
        except Exception:  # a console that is gone, for instance
            _LOGGER.exception("who watches the node failed")


class EvseNode:
    """One node. `backend` takes the place of the one that the settings name.

    What it tells of itself is there while it runs; RuntimeError otherwise.
    """

    def __init__(self, config: NodeConfig, *, backend: EvseBackend | None = None) -> None:
        self.config = config
        self._backend = backend
        self._port = config.port
        self._store: SqliteStore | None = None
        self._assembly: Assembly | None = None
        self._control: ControlServer | None = None
        self._control_address: HostPort | None = None
        # One at a time: start, stop, factory reset, the end of the last fabric.
        self._life = asyncio.Lock()
        self._beginning_anew: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._has_failed = asyncio.Event()
        self._watchers: list[_Watcher] = []

    # Its life

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
        """Start everything; when it returns, the node can be found and commissioned.

        Raises ConfigError for settings that cannot be used here, HalError when the hardware
        is not there, and RuntimeError for a node that runs already.
        """
        async with self._life:
            if self._store is not None:
                raise RuntimeError("the node is running")
            self._has_failed.clear()
            try:
                if self._backend is None:
                    self._backend = create_backend(self.config.backend, self.config.hal)
                self._store = SqliteStore(self.config.storage)
                await self._begin(self._store, self._backend)
                await self._start_control()
            except BaseException:
                await self._close()
                raise

    async def stop(self) -> None:
        """Open the contactor, take leave of the network, and close. May be repeated."""
        async with self._life:
            await self._close()
        # One that is done may be of a loop that is closed.
        if self._beginning_anew is not None and not self._beginning_anew.done():
            await asyncio.wait((self._beginning_anew,))

    async def wait_failed(self) -> NoReturn:
        """Wait until the node stopped by itself, because it could not begin anew.

        Raises then what was the reason, such as HalError.
        """
        await self._has_failed.wait()
        assert self._failure is not None
        raise self._failure

    async def factory_reset(self) -> None:
        """Forget fabrics and all settings that were made over Matter, and start anew.

        Raises StorageError when the disk refuses: then the node has begun anew, but answers
        nobody until it can be kept. Raises HalError when the hardware does not come back;
        then the node has stopped.
        """
        async with self._life:
            store, backend = self._store, self._backend
            if store is None or backend is None:
                raise RuntimeError("the node is not running")

            def forget() -> None:
                store.erase(KEPT)
                store.commit()

            await self._begin_again(store, backend, forget)
        self._notify()

    def _on_abandoned(self) -> None:
        self._beginning_anew = asyncio.get_running_loop().create_task(self._begin_anew())

    async def _begin_anew(self) -> None:
        async with self._life:
            store, backend = self._store, self._backend
            # A stop or a factory reset may have come before.
            if store is None or backend is None or not is_decommissioned(store):
                return
            _LOGGER.info("the last fabric is gone: what was made for it is forgotten")
            try:
                await self._begin_again(store, backend)
            except EvseNodeError as error:
                _LOGGER.critical("the node could not begin anew: %s", error)
            except Exception:
                _LOGGER.critical("the node could not begin anew", exc_info=True)
        self._notify()

    async def _begin_again(
        self, store: SqliteStore, backend: EvseBackend, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """End, do something `meanwhile`, and begin even if that fails."""
        try:
            await self._end()
            try:
                if meanwhile is not None:
                    meanwhile()
            finally:
                await self._begin(store, backend)
        except Exception as error:
            if not self.is_running:
                self._failure = error
                self._has_failed.set()
            raise

    async def _begin(self, store: SqliteStore, backend: EvseBackend) -> None:
        if is_decommissioned(store):
            # Also after a power cut at this point. The first answer waits for the commit.
            store.erase(KEPT_WITHOUT_FABRICS)
        self._assembly = Assembly(
            self.config, store, backend, self._port, self._notify, self._on_abandoned
        )
        self._port = self._assembly.port
        try:
            await self._assembly.start()
        except BaseException:
            await self._end()
            raise

    async def _end(self) -> None:
        assembly, self._assembly = self._assembly, None
        if assembly is not None:
            await assembly.stop()

    async def _close(self) -> None:
        async with contextlib.AsyncExitStack() as closing:
            # In reverse order; one that fails does not keep the others from their end.
            closing.callback(self._close_store)
            closing.push_async_callback(self._stop_control)
            closing.push_async_callback(self._end)

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    async def _start_control(self) -> None:
        if self.config.control is None:
            return
        # Only now, so that it does not keep the node from being discoverable.
        from evse_node.node.control.node_control import NodeControl
        from evse_node.node.control.server import ControlServer
        from evse_node.platform.control_file import write_control_file

        self._control = ControlServer(NodeControl(self))
        self._control_address = await self._control.start(self.config.control)
        try:
            write_control_file(self.config.storage, self._control_address)
        except OSError as error:
            # No reason not to charge.
            _LOGGER.warning("commands do not find the control API by the folder: %s", error)

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

    # Who watches it

    def watch(self, observer: Callable[[], None], *, settling_s: float = 0.0) -> Callable[[], None]:
        """Call `observer` soon after every change; return what ends that.

        With `settling_s` it is called so much later, once for all that changed meanwhile.
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
            watcher.notice()

    def wake(self) -> None:
        """Let the stack see soon what was changed from outside."""
        if self._assembly is not None:
            self._assembly.runtime.wake()

    # What it is

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
        """Where the control API listens, or None without one."""
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

    def range_km(self, energy_mwh: int) -> int | None:
        """Return how far the vehicle gets with an energy; None unless a controller told it."""
        return self._running.clusters.bridge.energy_evse.range_km(energy_mwh)

    @property
    def has_car(self) -> bool:
        """Whether the backend is the simulated one."""
        return isinstance(self._running.backend, SimulatedBackend)

    @property
    def car(self) -> SimulatedBackend:
        """The simulated car and its board. Raises HalError with real hardware."""
        backend = self._running.backend
        if not isinstance(backend, SimulatedBackend):
            raise HalError(f"the backend '{self.config.backend}' has no simulated car")
        return backend
