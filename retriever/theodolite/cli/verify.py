"""The command `verify`."""

from dataclasses import asdict
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, TrustIndex
from theodolite.errors import CorruptionError
from theodolite.maintenance_reports import Verification


def verify(
    location: Collection,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild derived data that is damaged.")] = False,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Check all stored data against its checksums.

    Checks documents, vectors, indexes and files. Exit code 3 if anything is damaged. --repair rebuilds what is derived
    from documents and vectors; it never changes these.

    \b
    Examples:
      theodolite verify kb
      theodolite verify kb --repair
    """
    with open_collection(location, read_only=not repair, trust_index=trust_index) as kb:
        info = kb.info()
        rows = info.get("rows", info["documents"])
        total = 2 * rows + info["documents"]  # vectors and their codes; an index adds little
        with output.progress_bar("checking", None if repair else total, quiet=json_) as advance:
            try:
                result = kb.repair(progress=advance) if repair else kb.verify(progress=advance)
            except CorruptionError as error:
                if "verification" not in error.details:
                    raise
                result = error.verification
    if json_:
        output.say_json({"sound": result.sound, **asdict(result)})
    else:
        _show(result)
    if not result.sound:
        raise typer.Exit(ExitCode.DAMAGED)


def _show(result: Verification) -> None:
    for line in result.repaired:
        output.say(f"repaired  {line}")
    for problem in result.problems:
        output.note(f"{problem.part}: {problem.message}", style="red")
    for warning in result.warnings:
        output.note(f"{warning.part}: {warning.message}", style="yellow")
    if result.sound:
        output.say(f"{result.checked.get('documents', 0):,} documents, all as they were stored")
    elif all(problem.derived for problem in result.problems):
        output.note("The damage is in data derived from documents and vectors, which are intact: --repair rebuilds it.")
    else:
        output.note("Restore the folder from a backup.")
