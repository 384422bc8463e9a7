"""Driver for python-matter-server through its WebSocket API.

Usage: matter_server.py STORAGE PAA_DIR. Each fabric is a server process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
from rpc import SubscribedState, serve

FIRST_PORT = 5580
EVSE = 0x0099


class Server:
    """Process of matter-server, and a WebSocket connection to it."""

    def __init__(self, storage: str, paa_directory: str, fabric: int) -> None:
        self.storage = f"{storage}/server{fabric}"
        self.paa_directory = paa_directory
        self.fabric = fabric
        self.state = SubscribedState()
        self.node_id = 0
        self._ids = count(1)
        self._replies: dict[str, asyncio.Future[Any]] = {}

    async def start(self) -> None:
        os.makedirs(self.storage, exist_ok=True)
        # Without a recent version file the server would empty the folder and use the internet.
        Path(self.paa_directory, ".version").touch()
        # The server deletes certificates that it has not fetched itself, unless this file is
        # recent.
        certificates = Path(self.storage) / "paa"
        shutil.copytree(self.paa_directory, certificates)
        (certificates / ".version").touch()
        port = FIRST_PORT + self.fabric
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "matter_server.server",
            *("--storage-path", self.storage),
            *("--paa-root-cert-dir", str(certificates)),
            *("--port", str(port)),
            *("--listen-address", "127.0.0.1"),
            *("--fabricid", str(self.fabric)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=2,
            stderr=2,
        )
        self.http = aiohttp.ClientSession()
        for _ in range(300):
            try:
                self.socket = await self.http.ws_connect(
                    f"http://127.0.0.1:{port}/ws", max_msg_size=0
                )
                break
            except aiohttp.ClientError:
                if self.process.returncode is not None:
                    raise RuntimeError("matter-server ended at start") from None
                await asyncio.sleep(0.2)
        else:
            raise RuntimeError("matter-server does not listen")
        await self.socket.receive_json()
        self._reader = asyncio.create_task(self._read())
        await self.call("start_listening")

    async def stop(self) -> None:
        self._reader.cancel()
        await self.socket.close()
        await self.http.close()
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()

    async def call(self, command: str, **args: Any) -> Any:
        message_id = str(next(self._ids))
        reply = self._replies[message_id] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"message_id": message_id, "command": command, "args": args})
        return await asyncio.wait_for(reply, 120)

    async def _read(self) -> None:
        async for message in self.socket:
            data = json.loads(message.data)
            if "message_id" in data:
                reply = self._replies.pop(data["message_id"])
                if "error_code" in data:
                    reply.set_exception(
                        RuntimeError(f"{data['error_code']}: {data.get('details')}")
                    )
                else:
                    reply.set_result(data.get("result"))
            elif data.get("event") == "attribute_updated":
                _node, path, value = data["data"]
                self.state.set_attribute(path, value)
            elif data.get("event") == "node_event":
                event = data["data"]
                self.state.add_event(
                    event["endpoint_id"],
                    event["cluster_id"],
                    event["event_id"],
                    event["event_number"],
                    event["data"],
                )
            elif data.get("event") in ("node_added", "node_updated"):
                self.state.attributes.update(data["data"]["attributes"])
                self.state.set_attribute("available", data["data"]["available"])


class MatterServerDriver:
    """Driver with one server per fabric."""

    def __init__(self, storage: str, paa_directory: str) -> None:
        self.storage = storage
        self.paa_directory = paa_directory
        self.servers: dict[int, Server] = {}

    async def start(self) -> None:
        await self._server(1)

    async def stop(self) -> None:
        for server in self.servers.values():
            await server.stop()

    async def _server(self, fabric: int) -> Server:
        if fabric not in self.servers:
            server = Server(self.storage, self.paa_directory, fabric)
            await server.start()
            self.servers[fabric] = server
        return self.servers[fabric]

    async def do_commission(self, code: str, fabric: int = 1) -> int:
        server = await self._server(fabric)
        node = await server.call("commission_with_code", code=code, network_only=True)
        server.node_id = node["node_id"]
        server.state.attributes.update(node["attributes"])
        return server.node_id

    async def do_read_all(self, fabric: int = 1) -> Any:
        server = self.servers[fabric]
        return await server.call("read_attribute", node_id=server.node_id, attribute_path="*/*/*")

    async def do_subscribe(self, fabric: int = 1, max_interval: int = 30) -> dict[str, Any]:
        # The server subscribes to everything by itself once a node is commissioned.
        server = self.servers[fabric]
        await server.state.wait_attribute("available", 60, equals=True)
        node = await server.call("get_node", node_id=server.node_id)
        return {"attributes": len(node["attributes"])}

    async def do_wait_attribute(self, fabric: int = 1, **wanted: Any) -> Any:
        return await self.servers[fabric].state.wait_attribute(**wanted)

    async def do_wait_event(self, fabric: int = 1, **wanted: Any) -> Any:
        return await self.servers[fabric].state.wait_event(**wanted)

    async def _command(
        self, fabric: int, endpoint: int, cluster: int, name: str, **fields: Any
    ) -> Any:
        server = self.servers[fabric]
        return await server.call(
            "device_command",
            node_id=server.node_id,
            endpoint_id=endpoint,
            cluster_id=cluster,
            command_name=name,
            payload=fields,
            timed_request_timeout_ms=3000 if cluster == EVSE else None,
        )

    async def do_enable_charging(
        self, until: int | None, minimum: int, maximum: int, fabric: int = 1
    ) -> None:
        await self._command(
            fabric,
            1,
            EVSE,
            "EnableCharging",
            chargingEnabledUntil=until,
            minimumChargeCurrent=minimum,
            maximumChargeCurrent=maximum,
        )

    async def do_disable(self, fabric: int = 1) -> None:
        await self._command(fabric, 1, EVSE, "Disable")

    async def do_open_window(self, fabric: int = 1) -> str:
        server = self.servers[fabric]
        window = await server.call("open_commissioning_window", node_id=server.node_id)
        return str(window["setup_manual_code"])

    async def do_remove_fabric(self, fabric: int, by: int = 1) -> None:
        # Removed by the fabric's own server, as a user would.
        server = self.servers[fabric]
        await server.call("remove_node", node_id=server.node_id)


if __name__ == "__main__":
    asyncio.run(serve(MatterServerDriver(sys.argv[1], sys.argv[2])))
