"""Requests and replies as JSON lines over a driver's standard input and output.

A driver wraps one real controller and runs on the controller's host with that
controller's own Python. Native code prints to standard output too, from its import on,
so that this module, to be imported first, gives the replies a descriptor of their own
and sends everything else to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any

REPLIES = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


class SubscribedState:
    """Newest attribute values and all events of a subscription.

    Attributes are kept under "endpoint/cluster/attribute" in decimal.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.changed = asyncio.Event()

    def set_attribute(self, path: str, value: Any) -> None:
        self.attributes[path] = value
        self.changed.set()

    def add_event(self, endpoint: int, cluster: int, event: int, number: int, data: Any) -> None:
        if any(known["number"] == number for known in self.events):
            return
        self.events.append(
            {
                "endpoint": endpoint,
                "cluster": cluster,
                "event": event,
                "number": number,
                "data": data,
            }
        )
        self.changed.set()

    async def wait_attribute(
        self, path: str, timeout: float, equals: Any = None, above: float | None = None
    ) -> Any:
        def found() -> tuple[bool, Any]:
            value = self.attributes.get(path)
            if above is not None:
                return value is not None and value > above, value
            return path in self.attributes and value == equals, value

        return await self._wait(found, timeout, f"attribute {path}")

    async def wait_event(self, cluster: int, event: int, timeout: float, after: int = -1) -> Any:
        def found() -> tuple[bool, Any]:
            for known in self.events:
                if (known["cluster"], known["event"]) == (cluster, event) and known[
                    "number"
                ] > after:
                    return True, known
            return False, None

        return await self._wait(found, timeout, f"event {cluster}/{event}")

    async def _wait(self, found: Any, timeout: float, what: str) -> Any:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            done, value = found()
            if done:
                return value
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise TimeoutError(f"{what} was not received within {timeout} s; last {value!r}")
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except TimeoutError:
                continue


async def serve(driver: Any) -> None:
    """Process requests until standard input closes."""
    loop = asyncio.get_running_loop()
    await driver.start()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            method = request.pop("do")
            try:
                reply = {"ok": await getattr(driver, "do_" + method)(**request)}
            except Exception as error:
                traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}"}
            REPLIES.write(json.dumps(reply, default=str) + "\n")
    finally:
        await driver.stop()
