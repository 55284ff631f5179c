"""The command `compact`."""

from dataclasses import asdict

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json


def compact(folder: Collection, json_: Json = False) -> None:
    """Reclaim the disk space of replaced and deleted documents, while other programs read and write.

    Search results do not change. If interrupted, the collection stays as it was.

    \b
    Examples:
      theodolite compact kb
    """
    with (
        open_collection(folder, read_only=False) as kb,
        output.progress_bar("compacting", kb.count(), quiet=json_) as advance,
    ):
        done = kb.compact(progress=advance)
    if json_:
        output.say_json(asdict(done))
    else:
        output.say(f"{done.rows:,} dead rows removed; {done.bytes_before:,} bytes before, {done.bytes_after:,} now")
