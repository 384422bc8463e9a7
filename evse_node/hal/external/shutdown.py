"""How a controller is left behind: disabled and open, and it has said so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, Link

LAST_ORDERS: Final = ControllerOrders(must_open=True, is_final=True)
"""What a controller is told before nobody is there any more."""


class ShutdownSequence:
    """Disables a controller, again and again until it confirms that.

    `is_linked` is whether the link is open; `failure` says why the newest attempt was none.
    """

    def __init__(self, link: Link, retry_s: float) -> None:
        self.is_linked = False
        self.failure = "no answer in time"
        self._prefix = ""
        self._link = link
        self._retry_s = retry_s

    async def run(self, *, is_patient: bool = True) -> str:
        """Return "" when the controller is disabled and open; the caller sets the limit.

        Without patience there is one attempt, and what is returned is why it failed.
        """
        while not await self._is_disabled():
            if not is_patient:
                return self.failure
            await asyncio.sleep(self._retry_s)
        return ""

    async def _is_disabled(self) -> bool:
        try:
            return await self._try()
        except HalError as error:
            self.failure = self._prefix + str(error)
        except Exception as error:
            # The port itself may be gone, or the link's mistake be one of a moment.
            self.failure = self._prefix + (str(error) or repr(error))
            await self._close()
        return False

    async def _try(self) -> bool:
        link = self._link
        self._prefix = ""
        if not self.is_linked:
            await self._close()
            await link.open(_do_nothing)
            self.is_linked = True
        await link.apply(LAST_ORDERS)
        self._prefix = "it took the order, but "
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
        self.is_linked = False
        with contextlib.suppress(HalError, OSError):
            await self._link.close()


def _do_nothing() -> None:
    pass
