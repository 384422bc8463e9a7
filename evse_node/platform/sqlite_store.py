"""Store on disk: one SQLite file in the storage folder.

All values are cached in memory, so that reads cost a dictionary look-up. `commit` writes all
changes of a turn in one transaction, which is durable when it returns. One process at a time
owns the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from evse_node.errors import ConfigError, StorageError

DATABASE_NAME: Final = "node.db"
LOCK_NAME: Final = "node.lock"
SCHEMA_VERSION: Final = 1
# Identifies the file as this program's ("EVSE").
APPLICATION_ID: Final = 0x45565345
# A short write-ahead log is soon overwritten instead of extended, which halves the work of
# the file system in each commit.
_LOG_PAGES: Final = 64


class SqliteStore:
    """`Store` whose values survive a power cut once `commit` has returned.

    The folder is created with mode 0700 if it does not exist, its files with mode 0600.
    Raises ConfigError when the folder cannot be used, is owned by another process, or
    holds a file that is damaged or was written by a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE_NAME
        _make_folder(folder)
        self._lock = _lock(folder / LOCK_NAME)
        self._values: dict[str, bytes] = {}
        # Changes since the last commit; None stands for a deleted key.
        self._dirty: dict[str, bytes | None] = {}
        try:
            self._connection = _open(self.path)
            self._values = _load(self._connection, self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def get(self, key: str) -> bytes | None:
        """Return the value, or None when there is none."""
        return self._values.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Store `value` under `key`; durable after the next `commit`."""
        if self._values.get(key) != value:
            self._values[key] = self._dirty[key] = bytes(value)

    def delete(self, key: str) -> None:
        """Delete `key`, if it exists."""
        if key in self._values:
            del self._values[key]
            self._dirty[key] = None

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return all pairs whose key starts with `prefix`, in order of the keys."""
        return sorted(pair for pair in self._values.items() if pair[0].startswith(prefix))

    @property
    def is_dirty(self) -> bool:
        """Whether `commit` would write anything."""
        return bool(self._dirty)

    def commit(self) -> None:
        """Write all changes since the last commit, or none.

        Raises StorageError when the disk fails; the changes then stay pending.
        """
        if not self._dirty:
            return
        connection = self._connection
        try:
            # A single statement is a transaction of its own.
            is_grouped = len(self._dirty) > 1
            if is_grouped:
                connection.execute("BEGIN IMMEDIATE")
            for key, value in self._dirty.items():
                if value is None:
                    connection.execute("DELETE FROM entry WHERE key = ?", (key,))
                else:
                    connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?)", (key, value))
            if is_grouped:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise StorageError(f"{self.path}: cannot be written ({error})") from None
        self._dirty.clear()

    def erase(self, keep: Iterable[str] = ()) -> None:
        """Delete all keys except those that start with a prefix in `keep`."""
        prefixes = tuple(keep)
        for key in list(self._values):
            if not key.startswith(prefixes):
                self.delete(key)

    def close(self) -> None:
        """Close and unlock the file. Changes that were not committed are lost."""
        self._connection.close()
        os.close(self._lock)


def _make_folder(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"storage {folder}: is a file; give a folder to write to") from None
    except OSError as error:
        raise ConfigError(
            f"storage {folder}: cannot be created ({error.strerror}); give a folder to write to"
        ) from None


def _open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner may use; narrow a wider mode. Raises OSError for a link."""
    flags |= os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(path: Path) -> int:
    """Return a locked file descriptor; the kernel releases the lock when the process ends."""
    try:
        descriptor = _open_private(path, os.O_CREAT)
    except OSError as error:
        raise ConfigError(
            f"storage {path.parent}: cannot be written ({error.strerror}); "
            "give a folder to write to"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(
            f"storage {path.parent}: in use by another node; give each node its own folder"
        ) from None
    return descriptor


def _open(path: Path) -> sqlite3.Connection:
    try:
        # SQLite gives its write-ahead log the mode of the database.
        os.close(_open_private(path, os.O_CREAT))
        with contextlib.suppress(FileNotFoundError):
            os.close(_open_private(path.with_name(f"{path.name}-wal"), 0))
        connection = sqlite3.connect(path, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"storage {path}: cannot be opened ({reason})") from None
    try:
        # Exclusive, as the lock above is, so that SQLite needs no shared-memory file.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        _check(connection, path)
    except sqlite3.OperationalError as error:
        # Read-only, full or unreachable: the content is not damaged.
        connection.close()
        raise ConfigError(f"storage {path}: cannot be used ({error})") from None
    except sqlite3.Error as error:
        connection.close()
        raise _damaged(path, str(error)) from None
    except ConfigError:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Create the table in a new file; reject a file that is foreign, newer or damaged."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not version:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
        return
    if application != APPLICATION_ID:
        raise ConfigError(f"storage {path}: is a database of another program")
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"storage {path}: has format {version}, this version reads {SCHEMA_VERSION}"
        )
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(path, str(verdict))


def _load(connection: sqlite3.Connection, path: Path) -> dict[str, bytes]:
    try:
        return {key: bytes(value) for key, value in connection.execute("SELECT * FROM entry")}
    except (sqlite3.Error, TypeError) as error:
        connection.close()
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"storage {path}: damaged ({reason}); restore a backup, or delete it and commission again"
    )
