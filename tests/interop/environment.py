"""Create the controllers' environments: `python tests/interop/environment.py`.

Each controller gets its own folder below `.interop/`, separate from the node's
packages. Running it again adds only missing parts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".interop"
CHIP_CORE = ("home-assistant-chip-core==2025.7.0", "home-assistant-chip-clusters==2025.7.0")
MATTER_SERVER = ("python-matter-server[server]",)
MATTER_JS = "@matter/main@0.17.9"

CHIP_PYTHON = FOLDER / "chip-core/bin/python"
MATTER_SERVER_PYTHON = FOLDER / "matter-server/bin/python"
MATTER_JS_MODULES = FOLDER / "matter-js/node_modules"


def newest_python() -> str:
    """Return the newest usable interpreter: newer matter-server releases require 3.12."""
    for name in ("python3.13", "python3.12"):
        path = shutil.which(name)
        if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode:
            return path
    return sys.executable


def make_python_environment(folder: Path, packages: tuple[str, ...]) -> None:
    """Create a virtual environment with `packages`, unless it exists."""
    stamp = folder / "made"
    wanted = "\n".join(packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([newest_python(), "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin/pip"), "install", "-q", *packages], check=True)
    stamp.write_text(wanted)


def make_node_environment(folder: Path, package: str) -> None:
    """Install an npm package into `folder`, unless it is installed."""
    stamp = folder / "made"
    if stamp.exists() and stamp.read_text() == package:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true}\n')
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package],
        cwd=folder,
        check=True,
    )
    stamp.write_text(package)


def main() -> int:
    """Create all environments; report failures."""
    FOLDER.mkdir(exist_ok=True)
    failures = 0
    environments: tuple[tuple[str, Callable[[], None]], ...] = (
        ("chip-core", lambda: make_python_environment(FOLDER / "chip-core", CHIP_CORE)),
        ("matter-server", lambda: make_python_environment(FOLDER / "matter-server", MATTER_SERVER)),
        ("matter.js", lambda: make_node_environment(FOLDER / "matter-js", MATTER_JS)),
    )
    for what, make in environments:
        try:
            make()
        except (OSError, subprocess.CalledProcessError) as error:
            failures += 1
            print(f"{what}: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
