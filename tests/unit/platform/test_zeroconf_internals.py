"""Private names of zeroconf that the package uses exist in the installed version."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from importlib.metadata import version
from pathlib import Path

import pytest
import zeroconf
from zeroconf.asyncio import AsyncZeroconf

import evse_node

SOURCE = Path(evse_node.__file__).parent
INTERNALS = SOURCE / "platform" / "zeroconf_internals.py"


def imports_of_zeroconf(file: Path) -> set[tuple[str, str]]:
    return {
        (node.module, name.name)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("zeroconf")
        for name in node.names
    }


def is_private(module: str, name: str) -> bool:
    return any(part.startswith("_") for part in (*module.split("."), name))


def missing(where: str, name: str) -> str:
    return (
        f"zeroconf {version('zeroconf')} has no {where}.{name}: adapt "
        "evse_node/platform/zeroconf_internals.py, or lower the upper bound in pyproject.toml"
    )


@pytest.mark.parametrize(("module", "name"), sorted(imports_of_zeroconf(INTERNALS)))
def test_imported_name_exists(module: str, name: str) -> None:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        pytest.fail(missing(module, name))
    assert hasattr(found, name), missing(module, name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("zeroconf._services.registry.ServiceRegistry", "async_get_types"),
        ("zeroconf._services.registry.ServiceRegistry", "async_add"),
        ("zeroconf._services.registry.ServiceRegistry", "async_remove"),
        ("zeroconf._protocol.outgoing.DNSOutgoing", "add_answer_at_time"),
        ("zeroconf._handlers.multicast_outgoing_queue.MulticastOutgoingQueue", "queue"),
        ("zeroconf._handlers.answers.AnswerGroup", "answers"),
        ("zeroconf.ServiceInfo", "key"),
        ("zeroconf.ServiceInfo", "dns_pointer"),
        ("zeroconf.ServiceInfo", "dns_service"),
        ("zeroconf.ServiceInfo", "dns_text"),
        ("zeroconf.ServiceInfo", "get_address_and_nsec_records"),
        ("zeroconf.Zeroconf", "async_send"),
        ("zeroconf.Zeroconf", "async_wait_for_start"),
    ],
)
def test_used_member_exists(kind: str, name: str) -> None:
    assert hasattr(pkgutil.resolve_name(kind), name), missing(kind, name)


async def test_instance_has_registry_queues_and_readers() -> None:
    async with AsyncZeroconf(interfaces=["127.0.0.1"]) as responder:
        await responder.zeroconf.async_wait_for_start()
        for name in ("registry", "query_handler", "out_queue", "out_delay_queue", "engine"):
            assert hasattr(responder.zeroconf, name), missing("Zeroconf", name)
        for queue in (responder.zeroconf.out_queue, responder.zeroconf.out_delay_queue):
            assert hasattr(queue, "queue"), missing("MulticastOutgoingQueue", "queue")
        assert hasattr(responder.zeroconf.engine, "readers"), missing("AsyncEngine", "readers")
        (reader, *_) = responder.zeroconf.engine.readers
        assert reader.transport.get_extra_info("socket"), missing("reader", "transport")


def test_cache_is_limited() -> None:
    """A host on the network cannot fill the memory with records."""
    assert zeroconf.const._MAX_CACHE_RECORDS <= 10_000, missing("const", "_MAX_CACHE_RECORDS")


def test_only_one_module_imports_private_names() -> None:
    for file in SOURCE.rglob("*.py"):
        if file != INTERNALS:
            private = [each for each in imports_of_zeroconf(file) if is_private(*each)]
            assert not private, f"{file}: {private} belong into {INTERNALS.name}"
