"""Compare the node with matter.js's EVSE device in one run: `make bench`.

The devices run on one test host, chip-core on the other, and each round does the same
operations on one device after the other. Device CPU is read from schedstat over all
threads; ratios are of medians over the rounds. With `--baseline FOLDER` another checkout
of this project is a third device, to compare a change with its base.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.measuring import cpu_ms, resident_mb, start_to_answer
from evse_node.matter.certificates.attestation import make_development_attestation
from tests.interop import environment
from tests.interop.conftest import Controller
from tests.interop.hosts import TwoHosts, why_not

HERE = Path(__file__).parent
PASSCODE = 20202021
TARGETS = {
    "read, CPU ms": 0.16,
    "timed invoke, CPU ms": 0.10,
    "wildcard read, CPU µs per attribute": 0.05,
    "subscription, CPU µs per attribute": 0.05,
    "report latency, ms": 0.10,
    "memory after load, MB": 0.28,
    "start to first answer, s": 0.20,
    "commissioning, CPU ms": 0.25,
}


class Device:
    """Device under comparison."""

    def __init__(
        self,
        name: str,
        node_id: int,
        discriminator: int,
        command: list[str],
        source: Path | None = None,
    ) -> None:
        self.name = name
        if source is not None:
            command = ["env", f"PYTHONPATH={source}", *command]
        self.node_id = node_id
        self.discriminator = discriminator
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def start(self, hosts: TwoHosts, log: Path) -> float:
        """Start on the device's host; return the seconds until the first mDNS answer."""
        subtype = f"_L{self.discriminator}._sub._matterc._udp.local"
        query = [sys.executable, "-m", "benchmarks.measuring", subtype]
        self.process, seconds = start_to_answer(
            hosts.command(hosts.device, *self.command),
            hosts.command(hosts.controller, *query),
            log,
        )
        # `ip netns exec` executes the command in its own process, so this is the device's pid.
        self.pid = self.process.pid
        return seconds

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def node_device(
    name: str, node_id: int, discriminator: int, folder: Path, source: Path | None = None
) -> Device:
    """Return this project's node, from another checkout if `source` is given."""
    return Device(
        name,
        node_id,
        discriminator,
        [
            *(sys.executable, "-m", "evse_node", "run", "--storage", str(folder / name)),
            *("--port", str(5540 + node_id), "--discriminator", str(discriminator)),
            *("--passcode", str(PASSCODE), "--log-level", "error", "--control", "off"),
        ],
        source,
    )


def devices(folder: Path, baseline: Path | None = None) -> list[Device]:
    """Return the node, matter.js's device, and the baseline if any, with empty storage."""
    node = node_device("evse-node", 1, 1111, folder, HERE.parent)
    script = folder / "evse-device.mjs"
    shutil.copy(HERE / "matterjs/evse-device.mjs", script)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(environment.MATTER_JS_MODULES)
    peer = Device(
        "matter.js",
        2,
        2222,
        [
            *("node", str(script), str(folder / "matterjs"), "5542", "2222", str(PASSCODE)),
            str(write_attestation(folder / "attestation.json")),
        ],
    )
    if baseline is None:
        return [node, peer]
    return [node, peer, node_device("baseline", 3, 3333, folder, baseline.resolve())]


def write_attestation(path: Path) -> Path:
    """Write credentials for matter.js with the same PAA as those of the node."""
    attestation = make_development_attestation(random_bytes=os.urandom)
    path.write_text(
        json.dumps(
            {
                "key": attestation.dac_key.private_bytes.hex(),
                "dac": attestation.dac_der.hex(),
                "pai": attestation.pai_der.hex(),
                "declaration": attestation.cd_der.hex(),
            }
        )
    )
    return path


def run(rounds: int, count: int, baseline: Path | None = None) -> dict[str, dict[str, list[float]]]:
    """Return figure -> device name -> one value a round."""
    # As `make install` does, so that no start includes compilation.
    for source in (HERE.parent, baseline):
        if source is not None:
            compileall.compile_dir(str(source / "evse_node"), quiet=1)
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    hosts = TwoHosts(f"bench{os.getpid() % 10000}")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _run(Path(temporary), hosts, rounds, count, figures, baseline)
        finally:
            hosts.close()
    return figures


def _run(
    folder: Path,
    hosts: TwoHosts,
    rounds: int,
    count: int,
    figures: dict[str, dict[str, list[float]]],
    baseline: Path | None,
) -> None:
    for attempt in range(3):
        trial = folder / f"start{attempt}"
        trial.mkdir()
        for device in devices(trial, baseline):
            figures["start to first answer, s"][device.name].append(
                device.start(hosts, trial / f"{device.name}.log")
            )
            device.stop()
    pair = devices(folder, baseline)
    paa = folder / "paa"
    subprocess.run([sys.executable, "-m", "evse_node", "paa", "--output", str(paa)], check=True)
    (folder / "chip").mkdir()
    # chip-core stores its counters there.
    Path("/data").mkdir(exist_ok=True)
    controller = Controller(
        hosts.command(
            hosts.controller,
            *(str(environment.CHIP_PYTHON), str(HERE / "chip_bench.py")),
            *(str(folder / "chip"), str(paa)),
        ),
        folder / "chip.log",
    )
    try:
        for device in pair:
            device.start(hosts, folder / f"{device.name}.log")
        time.sleep(3)
        for device in pair:
            figures["memory fresh, MB"][device.name].append(resident_mb(device.pid))
            before = cpu_ms(device.pid)
            latency = controller.call(
                "commission_node",
                node=device.node_id,
                discriminator=device.discriminator,
                passcode=PASSCODE,
            )
            time.sleep(0.5)
            figures["commissioning, CPU ms"][device.name].append(cpu_ms(device.pid) - before)
            figures["commissioning, ms"][device.name].append(latency)
        for number in range(rounds + 1):
            for device in pair:
                # The first round is a warm-up.
                measure(controller, device, count, figures if number else defaultdict(_lists))
            print(f"round {number}/{rounds}", file=sys.stderr)
        for device in pair:
            figures["memory after load, MB"][device.name].append(resident_mb(device.pid))
    finally:
        controller.close()
        for device in pair:
            device.stop()


def _lists() -> dict[str, list[float]]:
    return defaultdict(list)


def measure(
    controller: Controller, device: Device, count: int, figures: dict[str, dict[str, list[float]]]
) -> None:
    """Measure one round on one device."""
    for operation, title in (("read", "read"), ("invoke", "timed invoke"), ("write", "write")):
        before = cpu_ms(device.pid)
        latencies = controller.call(operation, node=device.node_id, count=count)
        figures[f"{title}, CPU ms"][device.name].append((cpu_ms(device.pid) - before) / count)
        figures[f"{title} latency, ms"][device.name].append(statistics.median(latencies))
    for operation, title in (("wildcard", "wildcard read"), ("subscription", "subscription")):
        before = cpu_ms(device.pid)
        result = controller.call(operation, node=device.node_id, count=max(3, count // 10))
        cpu = cpu_ms(device.pid) - before
        figures[f"{title}, CPU µs per attribute"][device.name].append(
            1000 * cpu / result["attributes"]
        )
    before = cpu_ms(device.pid)
    latencies = controller.call("report", node=device.node_id, count=max(5, count // 5))
    figures["write and its report, CPU ms"][device.name].append(
        (cpu_ms(device.pid) - before) / len(latencies)
    )
    figures["report latency, ms"][device.name].append(statistics.median(latencies))


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Return the figures as a Markdown table."""
    with_baseline = any("baseline" in by_device for by_device in figures.values())
    header = ["figure (median)", "evse-node", "matter.js", "ratio", "to reach"]
    if with_baseline:
        header += ["baseline", "evse-node / baseline"]
    rows = [header, ["---"] * len(header)]
    for figure, by_device in figures.items():
        median = {name: statistics.median(values) for name, values in by_device.items()}
        ours, theirs = median["evse-node"], median["matter.js"]
        target = TARGETS.get(figure)
        row = [figure, f"{ours:.3g}", f"{theirs:.3g}", f"{ours / theirs:.3f}"]
        row.append("" if target is None else f"≤ {target:.2f}")
        if with_baseline:
            row += [f"{median['baseline']:.3g}", f"{ours / median['baseline']:.2f}"]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Run the comparison and print its table; exit 1 when a ratio is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=50, help="operations a round")
    parser.add_argument("--baseline", type=Path, help="another checkout to compare with")
    parser.add_argument("--json", type=Path, help="write all values here too")
    options = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    figures = run(options.rounds, options.count, options.baseline)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    missed = [
        figure
        for figure, target in TARGETS.items()
        if statistics.median(figures[figure]["evse-node"])
        > target * statistics.median(figures[figure]["matter.js"])
    ]
    if missed:
        print("not reached: " + "; ".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
