"""Prints how many steps of a YAML suite a PICS file leaves, and how many there are.

Steps that only wait for the node do not count.

Runs in the controller's environment, beside the driver of the suites, which does not tell.
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
