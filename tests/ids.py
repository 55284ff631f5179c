"""Names for test parameters that are the same in every process, so that processes can share the tests."""

import re


def stable(value: object) -> str:
    """Return ascii(value) without memory addresses, and with the members of sets in order."""
    text = re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
    return re.sub(r"\{('\w+'(?:, '\w+')+)\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", text)
