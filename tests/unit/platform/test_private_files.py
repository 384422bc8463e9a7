from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.errors import ConfigError
from evse_node.platform.sqlite_store import DATABASE_NAME, LOCK_NAME, SqliteStore


@pytest.mark.parametrize("name", [DATABASE_NAME, LOCK_NAME])
def test_wider_mode_of_storage_file_is_narrowed(tmp_path: Path, name: str) -> None:
    SqliteStore(tmp_path).close()
    (tmp_path / name).chmod(0o644)
    SqliteStore(tmp_path).close()
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", [DATABASE_NAME, LOCK_NAME, f"{DATABASE_NAME}-wal"])
def test_storage_file_that_is_link_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.touch(mode=0o644)
    (tmp_path / name).symlink_to(target)
    with pytest.raises(ConfigError):
        SqliteStore(tmp_path)
    assert target.stat().st_mode & 0o777 == 0o644
    assert target.read_bytes() == b""
