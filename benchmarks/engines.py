"""PostgreSQL: theodolite's engine beside hand-written SQL and the stores of LangChain and LlamaIndex.

    python benchmarks/engines.py --data FOLDER
    python benchmarks/engines.py --data FOLDER --rows 100000 --questions 100 --copy --markdown
    python benchmarks/engines.py --clustered --rows 500000 --questions 20 --no-frameworks --markdown

The folder has `corpus.jsonl`, `corpus.f16.npy`, `queries.jsonl` and `queries.f16.npy`. With --clustered, vectors and
short texts are made. --copy measures `copy_to` from a folder, too. The packaged PostgreSQL is
started, unless --server names one. All peers hold the same rows in tables of the same server, and take turns.
Recall@10 compares with float64 over the rows that match the filter; `short` is the share of answers with fewer than
min(10, eligible) rows. The hand-written SQL does the same work: text, metadata and exact order.
"""

import argparse
import importlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.pop(0)  # this folder, in which `llama_index` would be a benchmark
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.data import CHUNK, Synthetic, texts
from benchmarks.truth import eligible_hits, similarities
from theodolite import Document, Freshness, Retriever

K = 10
SHARES = {"20 %": 0.2, "1 %": 0.01, "0.1 %": 0.001}
FIELDS = {"20 %": "fifth", "1 %": "hundredth", "0.1 %": "thousandth"}
_BATCH = 5_000

Floats = NDArray[np.float32]
Ask = Callable[[int], Sequence[int]]
"""Answers a question by its number with the numbers of rows."""


class Data:
    """Rows and questions: texts, unit vectors, and fields that admit a share of the rows each."""

    def __init__(self, texts: list[str], questions: list[str], vectors: Floats, queries: Floats) -> None:
        self.texts = texts
        self.questions = questions
        self.vectors = vectors
        self.queries = queries
        order = np.random.default_rng(1).permutation(len(self.texts))
        self.metadata: list[dict[str, Any]] = [
            {
                **{FIELDS[name]: bool(order[i] < share * len(order)) for name, share in SHARES.items()},
                "day": f"{2000 + i % 25}-{1 + i % 12:02}-{1 + i % 28:02}",
            }
            for i in range(len(self.texts))
        ]

    @classmethod
    def of_folder(cls, folder: Path, rows: int, questions: int) -> "Data":
        return cls(
            _texts(folder / "corpus.jsonl")[:rows],
            _texts(folder / "queries.jsonl")[:questions],
            _unit(np.load(folder / "corpus.f16.npy")[:rows]),
            _unit(np.load(folder / "queries.f16.npy")[:questions]),
        )

    @classmethod
    def clustered(cls, rows: int, questions: int) -> "Data":
        made = Synthetic("clustered", rows, 384)
        parts = [made.vectors(part, min(CHUNK, rows - start)) for part, start in enumerate(range(0, rows, CHUNK))]
        return cls(
            list(texts(rows, least=8, most=16)),
            list(texts(questions, seed=12, least=4, most=8)),
            np.concatenate(parts),
            made.queries(questions),
        )

    def documents(self) -> list[Document]:
        pairs = zip(self.texts, self.metadata, strict=True)
        return [Document(text, entry, str(row)) for row, (text, entry) in enumerate(pairs)]

    def mask(self, share: str | None) -> NDArray[np.bool_]:
        return np.array([share is None or entry[FIELDS[share]] for entry in self.metadata])


def ours(url: str, data: Data) -> tuple[float, Retriever]:
    kb = Retriever.open(url, embedder=None)
    taken, _ = measure.timed(kb.add, data.documents(), vectors=data.vectors, batch_size=_BATCH)
    return taken, kb


def copied(url: str, data: Data) -> tuple[float, float, float]:
    """Copy a folder to a new collection. Return the seconds: to write, to compare each row, to compare searches."""
    with TemporaryDirectory() as folder, Retriever.open(folder, embedder=None) as kb:
        kb.add(data.documents(), vectors=data.vectors, batch_size=_BATCH)
        done, moments = 0, [time.perf_counter()]

        def progress(count: int) -> None:
            nonlocal done
            done += count
            if done in (len(data.texts), 2 * len(data.texts)):
                moments.append(time.perf_counter())

        kb.copy_to(url, progress=progress)
        start, written, compared = moments
        return written - start, compared - written, time.perf_counter() - compared


def by_hand(connection: Any, data: Data) -> float:
    """Write rows as a careful programmer would: COPY into a staging table and one upsert per batch."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(
        "CREATE TABLE by_hand (id text PRIMARY KEY, text text, metadata jsonb, words tsvector, embedding vector(384))"
    )
    connection.execute("CREATE INDEX ON by_hand USING gin (metadata jsonb_path_ops)")
    connection.execute("CREATE INDEX ON by_hand USING gin (words)")
    jsonb = importlib.import_module("psycopg.types.json").Jsonb
    started = time.perf_counter()
    for start in range(0, len(data.texts), _BATCH):
        rows = range(start, min(start + _BATCH, len(data.texts)))
        with connection.transaction():
            connection.execute(
                "CREATE TEMP TABLE staged (id text, text text, metadata jsonb, embedding vector(384)) ON COMMIT DROP"
            )
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY staged FROM STDIN WITH (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["text", "text", "jsonb", "vector"])
                for row in rows:
                    copy.write_row((str(row), data.texts[row], jsonb(data.metadata[row]), data.vectors[row]))
            connection.execute(
                "INSERT INTO by_hand SELECT id, text, metadata, to_tsvector('english', text), embedding FROM staged "
                "ON CONFLICT (id) DO UPDATE SET text = excluded.text, metadata = excluded.metadata, "
                "words = excluded.words, embedding = excluded.embedding"
            )
    taken = time.perf_counter() - started
    connection.execute("ANALYZE by_hand")
    return taken


def langchain(url: str, data: Data) -> tuple[float, Any]:
    module: Any = importlib.import_module("langchain_postgres")

    class Given:
        """An embedder that is never called, because vectors are given."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        embed_query = embed_documents

    store = module.PGVector(
        Given(),
        connection=url.replace("postgresql://", "postgresql+psycopg://"),
        collection_name="peer",
        embedding_length=384,
        use_jsonb=True,
    )
    started = time.perf_counter()
    for start in range(0, len(data.texts), _BATCH):
        part = slice(start, start + _BATCH)
        ids = [str(row) for row in range(start, min(start + _BATCH, len(data.texts)))]
        store.add_embeddings(data.texts[part], data.vectors[part].tolist(), data.metadata[part], ids)
    return time.perf_counter() - started, store


def llama_index(url: str, data: Data, hnsw: bool) -> tuple[float, Any]:
    from llama_index.core.schema import TextNode

    module: Any = importlib.import_module("llama_index.vector_stores.postgres")
    store = module.PGVectorStore.from_params(
        connection_string=url.replace("postgresql://", "postgresql+psycopg2://"),
        async_connection_string=url.replace("postgresql://", "postgresql+asyncpg://"),
        table_name="peer_hnsw" if hnsw else "peer",
        embed_dim=384,
        use_jsonb=True,
        hnsw_kwargs={"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40} if hnsw else None,
    )
    started = time.perf_counter()
    for start in range(0, len(data.texts), _BATCH):
        store.add(
            [
                TextNode(
                    text=data.texts[row],
                    id_=str(uuid.UUID(int=row)),
                    metadata=data.metadata[row],
                    embedding=data.vectors[row].tolist(),
                )
                for row in range(start, min(start + _BATCH, len(data.texts)))
            ]
        )
    return time.perf_counter() - started, store


def searches(data: Data, kb: Retriever, connection: Any, stores: dict[str, Any], share: str | None) -> dict[str, Ask]:
    """Return the peers' searches by vector, with or without a filter."""
    where = None if share is None else {FIELDS[share]: True}
    condition = "" if share is None else f"""WHERE metadata @> '{{"{FIELDS[share]}": true}}' """
    sql = f"SELECT id, text, metadata, embedding <#> %s AS distance FROM by_hand {condition}ORDER BY distance LIMIT 10"  # noqa: S608
    asks: dict[str, Ask] = {
        "theodolite": lambda number: [
            int(hit.document.id) for hit in kb.search(vector=data.queries[number], k=K, where=where)
        ],
        "SQL by hand": lambda number: [
            int(row[0]) for row in connection.execute(sql, (data.queries[number],)).fetchall()
        ],
    }
    for name, store in stores.items():
        if name.startswith("LangChain"):
            asks[name] = lambda number, store=store: [  # type: ignore[misc]  # a default, so that each keeps its store
                int(found.id)
                for found in store.similarity_search_by_vector(data.queries[number].tolist(), k=K, filter=where)
            ]
        else:
            asks[name] = _llama_search(store, data, where)
    return asks


def _llama_search(store: Any, data: Data, where: dict[str, Any] | None) -> Ask:
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, VectorStoreQuery

    filters = None
    if where is not None:
        filters = MetadataFilters(filters=[MetadataFilter(key=key, value="true") for key in where])

    def ask(number: int) -> list[int]:
        query = VectorStoreQuery(query_embedding=data.queries[number].tolist(), similarity_top_k=K, filters=filters)
        return [uuid.UUID(node_id).int for node_id in store.query(query).ids]

    return ask


def measured(data: Data, asks: dict[str, Ask], share: str | None) -> list[list[str]]:
    """Return a line for each peer: milliseconds, recall, share of short answers."""
    mask = data.mask(share)
    scores, wanted = similarities(data.vectors, data.queries), min(K, int(np.count_nonzero(mask)))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
    found: dict[str, list[float]] = {name: [] for name in asks}
    short: dict[str, int] = dict.fromkeys(asks, 0)
    for name, number in measure.in_turns(list(asks), len(data.queries)):
        if number == 0:
            asks[name](0)  # warm
        answer: list[int] = []
        taken[name].append(measure.clocked(lambda: answer.extend(asks[name](number))))  # noqa: B023 - used up here
        hits = eligible_hits(scores[number], mask, np.array(answer, np.int64), K)
        found[name].append(hits / wanted if wanted else 1.0)
        short[name] += len(answer) < wanted
    return [
        [
            share or "none",
            name,
            f"{measure.summary(taken[name])['p50']:.2f}",
            f"{measure.summary(taken[name])['p95']:.2f}",
            f"{np.mean(found[name]):.3f}",
            f"{100 * short[name] / len(data.queries):.0f} %",
        ]
        for name in asks
    ]


def ranked(data: Data, kb: Retriever) -> Iterator[list[str]]:
    """Yield lines for searches that only theodolite supports: boosted, lexical, hybrid."""
    boost = Freshness("day", half_life="5y", weight=0.2)
    ways: dict[str, dict[str, Any]] = {
        "boosted": {"boosts": boost},
        "by words": {"mode": "lexical"},
        "hybrid": {"mode": "hybrid"},
    }
    for name, options in ways.items():
        taken = []
        for number in (0, *range(len(data.questions))):  # the first one is repeated, and not counted
            query = None if name == "boosted" else data.questions[number]
            vector = None if name == "by words" else data.queries[number]
            taken.append(measure.clocked(kb.search, query, vector=vector, k=K, **options))
        del taken[0]
        summary = measure.summary(taken)
        yield [name, "theodolite", f"{summary['p50']:.2f}", f"{summary['p95']:.2f}", "", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--clustered", action="store_true", help="make vectors and texts, instead of --data")
    parser.add_argument("--copy", action="store_true", help="measure copy_to, too")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--server", metavar="URL", help="an empty database, instead of the packaged server")
    parser.add_argument("--no-frameworks", action="store_true", help="leave LangChain and LlamaIndex out")
    parser.add_argument("--index", action="store_true", help="with HNSW indexes, instead of exact")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    if given.clustered == (given.data is not None):
        parser.error("give either --data or --clustered")
    made = Data.clustered if given.clustered else partial(Data.of_folder, given.data)
    data = made(given.rows, given.questions)
    with ExitStack() as stack:
        url = given.server
        if url is None:
            from theodolite.testing.postgres_server import PostgresServer

            url = stack.enter_context(PostgresServer()).url()
        import psycopg

        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        measure.progress("adding by hand")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        importlib.import_module("pgvector.psycopg").register_vector(connection)
        adding = {"SQL by hand": by_hand(connection, data)}
        measure.progress("adding with theodolite")
        adding["theodolite"], kb = ours(url + ("&" if "?" in url else "?") + "collection=bench", data)
        stack.callback(kb.close)
        stores: dict[str, Any] = {}
        if not given.no_frameworks:
            measure.progress("adding with LangChain")
            adding["LangChain PGVector"], stores["LangChain PGVector"] = langchain(url, data)
            measure.progress("adding with LlamaIndex")
            adding["LlamaIndex PGVectorStore"], stores["LlamaIndex PGVectorStore"] = llama_index(url, data, given.index)
        if given.index:
            measure.progress("building indexes")
            connection.execute("CREATE INDEX ON by_hand USING hnsw (embedding vector_ip_ops)")
            kb.reindex("hnsw")
            if "LangChain PGVector" in stores:
                connection.execute(
                    "CREATE INDEX ON langchain_pg_embedding USING hnsw ((embedding::vector(384)) vector_cosine_ops)"
                )
        connection.execute("VACUUM ANALYZE")
        lines = []
        for share in (None, *SHARES):
            measure.progress(f"searching, filter {share}")
            lines += measured(data, searches(data, kb, connection, stores, share), share)
        lines += ranked(data, kb)
        copying = None
        if given.copy:
            measure.progress("copying")
            copying = copied(url + ("&" if "?" in url else "?") + "collection=copied", data)
    print(measure.machine())
    print(
        measure.table(
            ["add", "seconds", "rows a second", "against SQL by hand"],
            [
                [name, f"{taken:.1f}", f"{len(data.texts) / taken:,.0f}", f"{taken / adding['SQL by hand']:.2f}"]
                for name, taken in adding.items()
            ],
            given.markdown,
        )
    )
    if copying is not None:
        print(
            f"\ncopy: written in {copying[0]:.1f} s, {len(data.texts) / copying[0]:,.0f} rows a second; each row "
            f"compared in {copying[1]:.1f} s; 200 searches compared in {copying[2]:.1f} s\n"
        )
    print(measure.table(["filter", "", "p50 ms", "p95 ms", "recall@10", "short"], lines, given.markdown))
    return 0


def _texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [" ".join(filter(None, (entry.get("title"), entry["text"]))) for entry in map(json.loads, file)]


def _unit(vectors: NDArray[Any]) -> Floats:
    wide = vectors.astype(np.float32)
    unit: Floats = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    sys.exit(main())
