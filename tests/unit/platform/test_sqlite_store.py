"""The store on disk: restarts, crashes, full disks and damaged files."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evse_node.errors import ConfigError, StorageError
from evse_node.platform.sqlite_store import DATABASE_NAME, LOCK_NAME, SqliteStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def reopen(store: SqliteStore, folder: Path) -> SqliteStore:
    store.close()
    return SqliteStore(folder)


def test_committed_values_survive_a_restart(folder: Path) -> None:
    store = SqliteStore(folder)
    store.set("fabric/1", b"one")
    store.set("acl/1", b"")
    store.commit()
    store.set("fabric/1", b"two")
    store.delete("acl/1")
    store = reopen(store, folder)
    assert store.items("") == [("acl/1", b""), ("fabric/1", b"one")]
    store.delete("acl/1")
    store.commit()
    store = reopen(store, folder)
    assert store.items("") == [("fabric/1", b"one")]
    store.close()


def test_reads_return_uncommitted_values(folder: Path) -> None:
    store = SqliteStore(folder)
    store.set("a", b"1")
    assert store.get("a") == b"1"
    store.delete("a")
    assert store.get("a") is None
    store.close()


def test_store_is_dirty_only_if_values_differ(folder: Path) -> None:
    store = SqliteStore(folder)
    store.commit()
    dirty = [store.is_dirty]
    store.set("a", b"1")
    dirty.append(store.is_dirty)
    store.commit()
    store.set("a", b"1")
    store.delete("never there")
    assert [*dirty, store.is_dirty] == [False, True, False]
    store.commit()
    store.close()


def test_value_set_and_deleted_leaves_nothing(folder: Path) -> None:
    store = SqliteStore(folder)
    store.set("a", b"1")
    store.delete("a")
    store.commit()
    store.delete("a")
    store.set("a", b"2")
    store.commit()
    store = reopen(store, folder)
    assert store.get("a") == b"2"
    store.close()


def test_stored_value_is_a_copy(folder: Path) -> None:
    store = SqliteStore(folder)
    value = bytearray(b"1")
    store.set("a", value)  # type: ignore[arg-type]
    value[0] = 0
    assert store.get("a") == b"1"
    store.close()


def test_commit_is_durable_when_it_returns(folder: Path) -> None:
    store = SqliteStore(folder)
    full = 2  # each commit is followed by a sync of the write-ahead log
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_write_ahead_log_stays_short(folder: Path) -> None:
    store = SqliteStore(folder)
    for number in range(200):
        store.set("a", number.to_bytes(2, "big") * 2000)
        store.commit()
    log = folder / f"{DATABASE_NAME}-wal"
    assert 0 < log.stat().st_size < 512 * 1024
    store.close()


def test_items_are_in_order_of_keys(folder: Path) -> None:
    store = SqliteStore(folder)
    for key in ("b/2", "a/1", "b/10"):
        store.set(key, b"")
    assert [key for key, _ in store.items("b/")] == ["b/10", "b/2"]
    store.close()


def test_files_are_readable_by_their_owner_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(folder)
        store.set("a", b"1")
        store.commit()
        assert folder.stat().st_mode & 0o777 == 0o700
        files = list(folder.iterdir())
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        assert len(files) >= 2
        store.close()
    finally:
        os.umask(before)


def test_second_store_on_the_same_folder_is_rejected(folder: Path) -> None:
    store = SqliteStore(folder)
    with pytest.raises(ConfigError, match="in use by another node"):
        SqliteStore(folder)
    store.close()
    SqliteStore(folder).close()


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(ConfigError, match=r"/file.*: is a file; give a folder"):
            SqliteStore(folder)
    with pytest.raises(ConfigError, match="cannot be created"):
        SqliteStore(Path("/proc/folder"))


def test_read_only_database_is_not_reported_as_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteStore(folder).close()
    connect = sqlite3.connect

    def read_only(path: Path, isolation_level: None) -> sqlite3.Connection:
        return connect(f"file:{path}?mode=ro", isolation_level=None, uri=True)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(ConfigError, match=r"node\.db: cannot be used \("):
        SqliteStore(folder)


@pytest.mark.parametrize(
    ("name", "message"), [(LOCK_NAME, "cannot be written"), (DATABASE_NAME, "cannot be opened")]
)
def test_file_that_cannot_be_opened_is_reported(folder: Path, name: str, message: str) -> None:
    (folder / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=message):
        SqliteStore(folder)
    (folder / name).rmdir()
    SqliteStore(folder).close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "renamed"])
def test_damaged_file_is_reported(folder: Path, damage: str) -> None:
    store = SqliteStore(folder)
    for number in range(200):
        store.set(f"key/{number}", bytes(100))
    store.commit()
    store.close()
    path = folder / DATABASE_NAME
    content = path.read_bytes()
    if damage == "garbage":
        content = b"not a database, but longer than a header would be" * 100
    elif damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "renamed":
        # Every value can still be read, but this one is under another key.
        content = content.replace(b"key/100", b"zey/100")
    else:
        content = content[:4096] + bytes(4096) + content[8192:]
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"node\.db: damaged"):
        SqliteStore(folder)
    # The lock is released.
    path.unlink()
    SqliteStore(folder).close()


def test_newer_format_is_rejected(folder: Path) -> None:
    SqliteStore(folder).close()
    connection = sqlite3.connect(folder / DATABASE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="has format 99"):
        SqliteStore(folder)


def test_database_of_another_program_is_rejected(folder: Path) -> None:
    folder.mkdir()
    connection = sqlite3.connect(folder / DATABASE_NAME)
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match="database of another program"):
        SqliteStore(folder)


def test_changes_stay_pending_after_a_failed_commit(folder: Path) -> None:
    store = SqliteStore(folder)
    store.set("a", b"1")
    store.commit()
    store._connection.execute("PRAGMA query_only = 1")
    store.set("a", b"2")
    with pytest.raises(StorageError, match="cannot be written"):
        store.commit()
    assert store.is_dirty
    store._connection.execute("PRAGMA query_only = 0")
    store.commit()
    store = reopen(store, folder)
    assert store.get("a") == b"2"
    store.close()


def test_commit_that_fails_half_way_is_rolled_back(folder: Path) -> None:
    store = SqliteStore(folder)
    refuse = "BEFORE INSERT ON entry WHEN new.key = 'b' BEGIN SELECT RAISE(FAIL, 'no'); END"
    store._connection.execute(f"CREATE TEMP TRIGGER refuse {refuse}")
    store.set("a", b"1")
    store.set("b", b"2")
    for _ in range(2):
        with pytest.raises(StorageError, match=r"cannot be written \(no\)"):
            store.commit()
    store._connection.execute("DROP TRIGGER refuse")
    assert store._connection.execute("SELECT count(*) FROM entry").fetchone() == (0,)
    store.commit()
    store = reopen(store, folder)
    assert store.items("") == [("a", b"1"), ("b", b"2")]
    store.close()


def test_full_disk_loses_only_uncommitted_changes(folder: Path) -> None:
    store = SqliteStore(folder)
    store.set("a", b"1")
    store.commit()
    store.set("a", b"2")
    store.set("large", bytes(1 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, hard))
    try:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"node\.db: cannot be written"):
                store.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.is_dirty
    # A crash now.
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    crashed = SqliteStore(copy)
    assert crashed.items("") == [("a", b"1")]
    crashed.close()
    # Or room again.
    store.commit()
    store = reopen(store, folder)
    assert store.items("") == [("a", b"2"), ("large", bytes(1 << 20))]
    store.close()


def test_erase_keeps_the_given_prefixes(folder: Path) -> None:
    store = SqliteStore(folder)
    for key in ("fabric/1", "attestation/dac", "attr/0/1"):
        store.set(key, b"x")
    store.erase(keep=["attestation/"])
    assert store.items("") == [("attestation/dac", b"x")]
    store.erase()
    assert store.items("") == []
    store.close()


# Writes pairs that must always agree, and prints a number after each commit.
_CHILD = """
import sys
from pathlib import Path
from evse_node.platform.sqlite_store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
number = int(store.get("left") or b"0")
while True:
    number += 1
    for key in ("left", "right", f"filler/{number % 7}"):
        store.set(key, str(number).encode())
    if number % 5:
        store.delete("fifth")
    else:
        store.set("fifth", str(number).encode())
    store.commit()
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_kill_at_any_moment_loses_no_acknowledged_commit(folder: Path) -> None:
    generator = random.Random(1)
    last = 0
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(generator.random() * 0.03)
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        acknowledged = int([line for line in lines if line.endswith("\n")][-1])
        store = SqliteStore(folder)
        left = int(store.get("left") or b"0")
        assert left >= acknowledged > last
        # One more may have been committed, but not printed; none is partial.
        assert left <= acknowledged + 1
        assert store.get("right") == str(left).encode()
        assert store.get(f"filler/{left % 7}") == str(left).encode()
        assert (store.get("fifth") is not None) == (left % 5 == 0)
        store.close()
        last = left
