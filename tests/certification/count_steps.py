"""Prints how many steps of a YAML suite a PICS file leaves, and how many there are.

Runs in the controller's environment, beside the driver of the suites, which does not tell.
"""

import sys

from matter.yamltests.definitions import SpecDefinitionsFromPaths
from matter.yamltests.parser import TestParser, TestParserConfig

_DEFINITIONS = "src/app/zap-templates/zcl/data-model/chip/*.xml"


def main() -> None:
    """Count the steps of the suite argv[1] with the PICS file argv[2]."""
    definitions = SpecDefinitionsFromPaths([_DEFINITIONS])
    suite = TestParser(sys.argv[1], TestParserConfig(sys.argv[2], definitions))
    steps = list(suite.tests)
    print(sum(bool(step.is_pics_enabled) for step in steps), len(steps))


if __name__ == "__main__":
    main()
