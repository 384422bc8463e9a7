"""Small virtual machine with a real GPIO character device and a real PWM chip, for tests.

QEMU without KVM boots a Debian kernel whose gpio-sim, pwm-lpss, i2c-stub and softdog provide
the hardware. The guest sees the host's file system read-only under the same paths, with
/mnt its own, so that interpreter and tree are the same.

    machine = VirtualMachine()          # downloads a kernel at the first use
    status, output = machine.run(["python3", "-c", "print(1)"], out=Path("results"), limit_s=60)
"""

from __future__ import annotations

import fcntl
import lzma
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = Path(os.environ.get("EVSE_NODE_HW_CACHE", ROOT / ".hw"))
PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "cpio": "cpio",
    "zstd": "zstd",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
BUSYBOX: Final = Path("/bin/busybox")
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The suite of the first Debian kernel with gpio-sim as a module.
SUITE: Final = "trixie-backports"
AT_BOOT: Final = (
    "fs/configfs/configfs",
    "drivers/gpio/gpio-sim",
    "fs/netfs/netfs",
    "net/9p/9pnet",
    "net/9p/9pnet_virtio",
    "fs/9p/9p",
    "drivers/pwm/pwm-lpss",
    "drivers/pwm/pwm-lpss-platform",
    "drivers/watchdog/watchdog",
    "drivers/i2c/i2c-dev",
)
ON_DEMAND: Final = ("drivers/i2c/i2c-stub", "drivers/watchdog/softdog")
PWM_DEVICE: Final = "80865AC8:00"

_INIT: Final = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do insmod "$module"; done
mount -t configfs none /sys/kernel/config
share() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=524288,$3" "$1" "$2"; }
share tree /tree ro,cache=loose || poweroff -f
mount -t tmpfs none /tree/mnt
mkdir /tree/mnt/out /tree/mnt/tmp /tree/mnt/modules
share out /tree/mnt/out rw || poweroff -f
cp /later/* /tree/mnt/modules
for folder in proc sys dev; do mount --rbind /$folder /tree/$folder; done
mkdir -p /tree/dev/shm /tree/dev/pts
mount -t tmpfs none /tree/dev/shm
mount -t devpts none /tree/dev/pts
ifconfig lo 127.0.0.1 up
chroot /tree /bin/sh /mnt/out/command
echo $? > /tree/mnt/out/status
sync
poweroff -f
"""


def why_not() -> str:
    """Return why the machine cannot run here, or ""."""
    if platform.machine() != "x86_64":
        return "the virtual machine is an x86-64 one"
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if not BUSYBOX.exists():
        missing.append("busybox-static")
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    return f"packages are missing: {' '.join(missing)}" if missing else ""


class MachineError(Exception):
    """The machine could not be built, or did not power off."""


class VirtualMachine:
    """Virtual machine, with kernel and initial file system in a cache."""

    def __init__(self, cache: Path = CACHE) -> None:
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (cache / "initrd").exists():
                _Builder(cache).build()

    def run(self, command: Sequence[str], out: Path, limit_s: float) -> tuple[int, str]:
        """Run a command in this directory, as root; return its status and the console.

        Files that the guest writes to /mnt/out are in `out` afterwards. Raises MachineError.
        """
        out.mkdir(parents=True, exist_ok=True)
        (out / "status").unlink(missing_ok=True)
        (out / "command").write_text(
            f"cd {shlex.quote(str(ROOT))}\n"
            "export HOME=/mnt/tmp TMPDIR=/mnt/tmp LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1\n"
            f"export PATH={shlex.quote(os.environ['PATH'])} EVSE_NODE_GUEST=1\n"
            f"{shlex.join(command)}\n"
        )
        try:
            ended = subprocess.run(
                self._qemu(out),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            console = (error.stdout or b"").decode(errors="replace")
            raise MachineError(f"the machine did not end in {limit_s:g} s\n{console}") from None
        console = ended.stdout.decode(errors="replace")
        status = out / "status"
        if not status.exists():
            raise MachineError(f"the machine failed\n{console}")
        return int(status.read_text()), console

    def _qemu(self, out: Path) -> list[str]:
        def share(name: str, path: Path, options: str) -> list[str]:
            backend = f"local,id={name},path={path},security_model=none{options}"
            return ["-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]

        return [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", "1", "-m", "768", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-serial", "stdio", "-monitor", "none"),
            *share("tree", Path("/"), ",readonly=on,multidevs=remap"),
            *share("out", out.resolve(), ""),
            *("-acpitable", f"file={self._cache / 'pwm.aml'}"),
            *("-kernel", str(self._cache / "kernel"), "-initrd", str(self._cache / "initrd")),
            *("-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nowatchdog"),
        ]


class _Builder:
    """Downloader of a kernel with apt, with package lists of its own."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def build(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._cache, prefix="build-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            version = self._download(folder)
            self._unpack_kernel(folder)
            (self._cache / "pwm.aml").write_bytes(pwm_table())
            self._pack_initrd(folder, version)

    def _download(self, folder: Path) -> str:
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n"
        )
        (folder / "apt.conf").write_text(
            f'Dir::State::Lists "{folder}/lists";\nDir::Cache "{folder}/cache";\n'
            f'Dir::Etc::SourceList "{folder}/sources.list";\nDir::Etc::SourceParts "-";\n'
            'APT::Sandbox::User "root";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}

        def call(*command: str) -> str:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise MachineError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
            return done.stdout

        call("apt-get", "-qq", "update")
        listed = call("apt-cache", "depends", "linux-image-amd64")
        found = re.search(r"Depends: linux-image-(\d\S*)", listed)
        if found is None:
            raise MachineError(f"no kernel in {SUITE}: {listed}")
        version = found[1]
        call("apt-get", "-qq", "download", f"linux-binary-{version}", f"linux-modules-{version}")
        for package in folder.glob("*.deb"):
            call("dpkg-deb", "-x", package.name, "tree")
        return version

    def _unpack_kernel(self, folder: Path) -> None:
        """Decompress the kernel, which would take seconds in the guest."""
        image = next(
            file for file in folder.glob("tree/**/vmlinuz*") if file.is_file()
        ).read_bytes()
        start = image.index(b"\x28\xb5\x2f\xfd")
        # zstd reports trailing data as an error, after it has written the whole stream.
        plain = subprocess.run(
            ["zstd", "-dcq"], input=image[start:], capture_output=True, check=False
        ).stdout
        if not plain.startswith(b"\x7fELF"):
            raise MachineError("the kernel cannot be unpacked")
        (self._cache / "kernel").write_bytes(plain)

    def _pack_initrd(self, folder: Path, version: str) -> None:
        root = folder / "initrd"
        for name in ("bin", "modules", "later", "proc", "sys", "dev", "tree"):
            (root / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "bin/busybox")
        modules = next(folder.glob(f"tree/**/modules/{version}/kernel"))
        for number, module in enumerate(AT_BOOT):
            content = lzma.decompress((modules / f"{module}.ko.xz").read_bytes())
            (root / f"modules/{number:02}.ko").write_bytes(content)
        for module in ON_DEMAND:
            content = lzma.decompress((modules / f"{module}.ko.xz").read_bytes())
            (root / f"later/{Path(module).name}.ko").write_bytes(content)
        init = root / "init"
        init.write_text(_INIT)
        init.chmod(0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        packed = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"],
            input=names.encode(),
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        (self._cache / "initrd.new").write_bytes(packed)
        (self._cache / "initrd.new").rename(self._cache / "initrd")


def _mirror() -> str:
    """Return the Debian mirror that this machine uses."""
    for file in sorted(Path("/etc/apt").rglob("*")):
        if file.suffix in (".list", ".sources"):
            found = re.search(
                r"^(?:URIs:|deb(?: \[[^]]*\])?) *(http\S*/debian)/?\s", file.read_text(), re.M
            )
            if found:
                return found[1]
    raise MachineError("no Debian mirror is configured for apt to download the kernel")


def pwm_table() -> bytes:
    """Return an ACPI table with a device for the kernel's pwm-lpss.

    \\_SB.PWM0 has the hardware id 80865AC8 and 4 KiB at 0xFED88000, where there is no
    memory: registers read as 0, which the driver takes for a completed update.
    """

    def package(content: bytes) -> bytes:
        """Prefix with the package length, which includes its own bytes."""
        length = len(content) + 1
        if length < 0x40:
            return bytes((length,)) + content
        length += 1
        return bytes((0x40 | length & 0x0F, length >> 4)) + content

    def name(text: bytes, value: bytes) -> bytes:
        return b"\x08" + text + value

    memory = b"\x86\x09\x00\x01" + struct.pack("<II", 0xFED88000, 0x1000)
    resources = memory + b"\x79\x00"
    device = b"PWM0"
    device += name(b"_HID", b"\x0d80865AC8\x00")
    device += name(b"_UID", b"\x01")
    device += name(b"_CRS", b"\x11" + package(b"\x0a" + bytes((len(resources),)) + resources))
    body = b"\x10" + package(b"\\_SB_" + b"\x5b\x82" + package(device))
    header = struct.pack("<4sIBB6s8sI4sI", b"SSDT", 36 + len(body), 2, 0, b"EVSEND", b"PILOTPWM",
                         1, b"EVSE", 1)  # fmt: skip
    table = bytearray(header + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)
