"""Reading TOML files; each complaint is one line that names the file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from evse_node.errors import ConfigError


def read_toml(file: Path) -> dict[str, object]:
    """Return a file's keys and values. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
