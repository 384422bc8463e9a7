"""Shutdown of a controller: disabled and open, by its own report."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, Link

LAST_ORDERS: Final = ControllerOrders(must_open=True, is_final=True)
"""Orders sent to a controller on shutdown."""


class ShutdownSequence(Struct, eq=False):
    """Disabling of a controller, repeated until the controller confirms it.

    `is_open`: the link is open. `failure`: why the last attempt failed.
    """

    link: Link
    retry_s: float
    is_open: bool = False
    failure: str = "no answer in time"
    _prefix: str = ""

    async def run(self, *, repeats: bool = True) -> str:
        """Return "" once the controller is disabled and open; the caller limits the time.

        Without `repeats` there is one attempt, and its failure is returned.
        """
        while not await self._is_disabled():
            if not repeats:
                return self.failure
            await asyncio.sleep(self.retry_s)
        return ""

    async def _is_disabled(self) -> bool:
        try:
            return await self._try()
        except HalError as error:
            self.failure = self._prefix + str(error)
        except Exception as error:
            # The port may be gone, or the link have failed for a moment only.
            self.failure = self._prefix + (str(error) or repr(error))
            await self._close()
        return False

    async def _try(self) -> bool:
        link = self.link
        self._prefix = ""
        if not self.is_open:
            await self._close()
            await link.open(lambda: None)
            self.is_open = True
        await link.apply(LAST_ORDERS)
        self._prefix = "it accepted the order, but "
        status = await link.read_status()
        if status.has_restarted:
            self.failure = "it is restarting"
        elif status.is_closed:
            self.failure = "its contactor stays closed"
        elif status.is_enabled:
            self.failure = "it stays enabled"
        else:
            return True
        return False

    async def _close(self) -> None:
        self.is_open = False
        with contextlib.suppress(HalError, OSError):
            await self.link.close()
