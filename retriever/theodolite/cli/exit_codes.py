"""The exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command."""

    OK = 0
    FAILED = 1
    """The command failed: a problem of the collection, a missing package, or options that contradict each other."""
    USAGE = 2
    """Invalid arguments: usage, a path that does not exist, a filter, metadata."""
    DAMAGED = 3
    """The stored data is not as expected: no collection, damage, another embedder."""
    FINDINGS = 4
    """`audit` has found a warning or an error."""
    INTERRUPTED = 130
    """Ctrl-C. Everything committed is kept."""
    BROKEN_PIPE = 141
    """The program that read the output has closed it."""
