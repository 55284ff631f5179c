"""Commands that look after a collection: verify, compact, backup."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.app import Json, Kb, TrustIndex, app, as_path
from theodolite.cli.opening import bare
from theodolite.errors import CorruptionError
from theodolite.types import Verification


@app.command()
def verify(
    folder: Kb,
    repair: Annotated[bool, typer.Option("--repair", help="Make anew what is derived and damaged.")] = False,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Check all that a collection holds: documents, vectors, indexes, files. Exit code 3 where something is damaged.

    Documents and vectors are never changed. What is derived from them, --repair makes anew.

    \b
    Examples:
      theodolite verify kb
      theodolite verify kb --repair
    """
    with bare(folder, read_only=not repair, trust_index=trust_index) as kb:
        info = kb.info()
        total = 2 * info["rows"] + info["documents"]  # vectors and their codes; an index adds little
        with output.counting("checking", None if repair else total, quiet=json_) as advance:
            try:
                found = kb.repair(progress=advance) if repair else kb.verify(progress=advance)
            except CorruptionError as error:
                if "verification" not in error.details:
                    raise
                found = error.verification
    if json_:
        output.say_json({"sound": found.sound, **asdict(found)})
    else:
        _show(found)
    if not found.sound:
        raise typer.Exit(3)


@app.command()
def compact(folder: Kb, json_: Json = False) -> None:
    """Give back the disk space of documents that were replaced or deleted, while others read and write.

    Nothing that is found changes. Interrupted, the collection is as before.

    \b
    Examples:
      theodolite compact kb
    """
    with bare(folder, read_only=False) as kb, output.counting("compacting", kb.count(), quiet=json_) as advance:
        done = kb.compact(progress=advance)
    if json_:
        output.say_json(asdict(done))
    else:
        output.say(f"{done.rows:,} dead rows removed; {done.bytes_before:,} bytes before, {done.bytes_after:,} now")


@app.command()
def backup(
    folder: Kb,
    to: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", parser=as_path, help="A folder that is not there yet.")
    ],
    json_: Json = False,
) -> None:
    """Copy a collection to a new folder, as of one commit, while others may write to it.

    The copy is a collection like any other. Interrupted, there is none.

    \b
    Examples:
      theodolite backup kb -o backups/kb-monday
    """
    with (
        bare(folder) as kb,
        output.counting("copying", kb.info()["bytes"], quiet=json_) as advance,
    ):
        kb.backup(to, progress=advance)
    with bare(to) as copy:
        info = copy.info()
    if json_:
        output.say_json({"documents": info["documents"], "commits": info["commits"], "folder": str(to)})
    else:
        output.say(f"{info['documents']:,} documents, as of commit {info['commits']:,}, in {to}")


def _show(found: Verification) -> None:
    for line in found.repaired:
        output.say(f"repaired  {line}")
    for problem in found.problems:
        output.note(f"{problem.part}: {problem.message}", style="red")
    for warning in found.warnings:
        output.note(f"{warning.part}: {warning.message}", style="yellow")
    if found.sound:
        output.say(f"{found.checked.get('documents', 0):,} documents, all as they were stored")
    elif all(problem.derived for problem in found.problems):
        output.note(
            "What is damaged is derived from the documents and vectors, which are sound: --repair makes it anew."
        )
    else:
        output.note("Restore the folder from a backup.")
