"""The controller's environment: its packages, and the SDK's test library.

Versions: the wheels of 2025.7.0 match the SDK at the commit given in `results`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = (
    "home-assistant-chip-core==2025.7.0",
    "home-assistant-chip-clusters==2025.7.0",
    "mobly==1.13.1",
    # Later versions print services in another format, which TC_SC_4_3 cannot parse.
    "zeroconf==0.131.0",
    "pyasn1==0.6.5",
    "pyasn1_modules==0.4.2",
    "langcodes==3.5.1",
    "nest-asyncio==1.6.0",
    # For the YAML suites.
    "click==8.5.1",
    "Jinja2==3.1.6",
    "lark==1.3.1",
    "PyYAML==6.0.3",
)
PYTHON = "python3.12"
_TESTING = "src/python_testing/matter_testing_infrastructure/chip/testing"


def python_of(environment: Path) -> Path:
    """Return the environment's interpreter."""
    return environment / "bin/python"


def set_up(sdk: Path, environment: Path, python: str = PYTHON) -> None:
    """Create or complete the environment. Raises CalledProcessError, OSError."""
    if not python_of(environment).exists():
        subprocess.run([python, "-m", "venv", str(environment)], check=True)
    interpreter = str(python_of(environment))
    subprocess.run([interpreter, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    found = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    testing = Path(found.stdout.strip()) / "chip/testing"
    shutil.copytree(sdk / _TESTING, testing, dirs_exist_ok=True)
    for version in sorted((sdk / "data_model").iterdir()):
        if (version / "clusters").is_dir():
            _zip(version, testing / "data_model" / version.name / "allfiles.zip")


def _zip(folder: Path, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


def main(sdk: Path, environment: Path, python: str) -> int:
    """Set up the environment and print the outcome."""
    try:
        set_up(sdk, environment, python)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the controller's environment could not be created: {error}", file=sys.stderr)
        return 1
    print(f"{environment} is ready")
    return 0
