"""The command `compact`."""

from dataclasses import asdict

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json


def compact(location: Collection, json_: Json = False) -> None:
    """Free the disk space of replaced and deleted documents.

    Other programs may read and write meanwhile. Search results do not change. If interrupted, the collection stays as
    it was.

    \b
    Examples:
      theodolite compact kb
    """
    with (
        open_collection(location, read_only=False) as kb,
        output.progress_bar("compacting", kb.count(), quiet=json_) as advance,
    ):
        done = kb.compact(progress=advance)
    if json_:
        output.say_json(asdict(done))
    else:
        output.say(f"{done.rows:,} dead rows removed; {done.bytes_before:,} bytes before, {done.bytes_after:,} now")
