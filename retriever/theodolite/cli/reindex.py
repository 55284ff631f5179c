"""The command `reindex`."""

from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json
from theodolite.indexes.registry import canonical, estimate


def reindex(
    location: Collection,
    index: Annotated[
        str, typer.Argument(metavar="INDEX", help="auto, symqg, hnsw:M=32, faiss:IVF1024,PQ48, ..., or flat for none.")
    ] = "auto",
    target_recall: Annotated[
        float, typer.Option("--target-recall", min=0.0, max=1.0, help="Recall@10 to tune searches for.")
    ] = 0.99,
    json_: Json = False,
) -> None:
    """Build an approximate index for a large collection.

    `auto` is symqg, or hnsw if only that is installed. `flat` goes back to exact search. Interrupted with Ctrl-C, the
    next call resumes the build of hnsw and faiss; symqg starts again. The exact index stays and scores the candidates
    of the approximate one.

    \b
    Examples:
      theodolite reindex kb
      theodolite reindex kb faiss:IVF1024,PQ48 --target-recall 0.95
      theodolite reindex kb flat
    """
    with open_collection(location, read_only=False) as kb:
        before = kb.info()
        is_here = kb.location is not None  # a server's memory and time are not estimated
        if index != "flat" and is_here and not json_ and before["dimension"] is not None:
            output.note(output.estimate_line(estimate(canonical(index), before["documents"], before["dimension"])))
        with output.progress_bar("indexing", before["documents"], quiet=json_) as advance:
            kb.reindex(index, target_recall=target_recall, progress=advance)
        after = kb.info()
    if json_:
        output.say_json({"index": after["index"], "approximate": after["approximate"]})
    elif after["approximate"] is None:
        output.say("flat: searches are exact")
    else:
        output.say(f"{after['index']}: {output.index_line(after['approximate'])}")
