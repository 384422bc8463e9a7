"""One rule from the specification's names to Python's.

`NextChargeTargetSoC` -> `next_charge_target_soc`, `ESAState` -> `esa_state`,
`SupportedWiFiBands` -> `supported_wi_fi_bands`, `NOCs` -> `nocs`.
"""

import re
from functools import lru_cache

# Words, in the order in which they are tried:
#   SoC, IPv4, IPv6   written in mixed case though they are one word
#   NOCs, IDs         an acronym's plural
#   ESA, V2X, WPA3    an acronym, up to the capital that starts the next word
#   Charge, Key0      a word with its number ("Rate10M" is one word)
#   12hr, 2G4         anything that starts with a digit
_WORD = re.compile(
    r"SoC(?![a-z])|IPv[46]"
    r"|[A-Z]{2,}s(?![a-z])"
    r"|[A-Z]+(?![a-z])(?:\d+[A-Z]*(?![a-z]))?"
    r"|[A-Z]?[a-z]+(?:\d+[A-Z]*(?![a-z]))?"
    r"|\d[0-9A-Za-z]*"
)


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Return the Python name of an attribute, field, command, event or cluster.

    Words are joined by underscores; anything but letters and digits separates words.
    """
    return "_".join(_WORD.findall(name)).lower()


def upper_case(name: str) -> str:
    """Return the name of an enum member or bitmap field: `snake_case` in capitals."""
    return snake_case(name).upper()
