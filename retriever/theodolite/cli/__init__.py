"""The command line, `theodolite`."""

import sys

from theodolite.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command given by `sys.argv` and exit with its code (see `theodolite.cli.exit_codes`)."""
    try:
        if sys.argv[1:2] == ["search"]:
            from theodolite.cli.quick_search import quick_search

            if (code := quick_search(sys.argv[2:])) is not None:
                sys.exit(code)
        from theodolite.cli.run import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "click", "rich"):
            raise
        hint = "pip install 'theodolite[cli]'"
        missing = MissingExtraError(f"the command line needs the package {error.name!r}. Run: {hint}", hint=hint)
        print(missing, file=sys.stderr)  # noqa: T201 - the command line prints
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
