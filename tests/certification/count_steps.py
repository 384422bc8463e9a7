"""Print how many steps of a YAML suite a PICS file enables, and how many there are.

Steps that only wait for the node do not count. This script runs in the controller's
environment, because the driver of the suites does not report these numbers.
"""

import sys
from pathlib import Path

import yaml
from matter.yamltests.pics_checker import PICSChecker


def main() -> None:
    """Count the steps of the suite argv[1] with the PICS file argv[2]."""
    pics = PICSChecker(sys.argv[2])
    steps = [
        step
        for step in yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))["tests"]
        if not step.get("disabled") and step.get("cluster") != "DelayCommands"
    ]
    print(sum(pics.check(step.get("PICS")) for step in steps), len(steps))


if __name__ == "__main__":
    main()
