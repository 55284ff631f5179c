"""TheodoliteVectorStore: a collection as a LangChain vector store."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor

from langchain_theodolite.documents import from_core, to_core
from langchain_theodolite.embeddings import EmbeddingsEmbedder, TheodoliteEmbeddings, as_embedder
from langchain_theodolite.filters import split_filter
from langchain_theodolite.retrievers import TheodoliteVectorStoreRetriever
from langchain_theodolite.searching import collection
from langchain_theodolite.similarity import Searches
from theodolite import ConfigError, InputError, Retriever
from theodolite import Document as Passage
from theodolite.integration import RECORDED, check_names, check_order, open_collection, opening_options

_ADDING = frozenset({"batch_size"})
_HINTS = {
    "persist_directory": "location, a folder",
    "path": "location, a folder",
    "collection_name": "location: one folder for each collection",
    "embedder": "embedding",
    "kb": "TheodoliteVectorStore.from_retriever(kb)",
    "relevance_score_fn": "relevance, a function on arrays of similarities",
    "distance_strategy": "metric: 'cosine', 'dot' or 'l2'",
    "normalize_L2": "metric='cosine', which normalizes",
    "allow_dangerous_deserialization": "not needed: nothing is pickled",
}


class TheodoliteVectorStore(Searches):
    """A LangChain vector store over a `theodolite.Retriever`: documents in a folder, with exact search.

    >>> from langchain_core.embeddings import DeterministicFakeEmbedding
    >>> store = TheodoliteVectorStore(DeterministicFakeEmbedding(size=8))  # location="kb" keeps it in a folder
    >>> store.add_texts(["Refunds take five working days."], [{"lang": "en"}], ids=["refunds"])
    ['refunds']
    >>> store.similarity_search("How long do refunds take?", k=1, filter={"lang": "en"})[0].id
    'refunds'

    Adding an existing id replaces the document. A document without an id gets one derived from its text and metadata,
    so adding it again replaces it. Each call that adds documents is one atomic commit. Filters apply before the best
    are selected, so min(k, matching) documents come back. Scores are cosines (the metric's own value), higher is
    better. Relevance is the cosine, at least 0. Besides `k` and `filter`, searches accept `score_threshold`, `scope`,
    `fetch_k` and `lambda_mult`, and from `theodolite.Retriever.search` mode, boosts, versions, as_of, superseded,
    min_relevance, rerank, diversity and dedupe. Any other keyword raises a TypeError.

    Threads may share a store. Async methods run on a bounded thread pool and await embeddings that are natively async,
    so the event loop never blocks.
    """

    def __init__(
        self,
        embedding: Any = RECORDED,
        location: str | PathLike[str] | None = None,
        *,
        embedding_function: Any = None,
        **options: Any,
    ) -> None:
        """Open the collection in a folder; or a new one, which the first documents create.

        Args:
            embedding: LangChain `Embeddings`, or anything that `Retriever.open(embedder=...)` accepts. Default: the
                embedder that the collection records, loaded when a text needs it. LangChain `Embeddings` cannot be made
                again from a record, so pass them each time.
            location: a folder. None keeps the collection in a temporary folder until the store is closed.
            embedding_function: another name for `embedding`.
            options: further arguments of `Retriever.open`: metric, index, partition, versions, create, ...

        Raises:
            TypeError: an option is unknown. TheodoliteError: see `Retriever.open`.
        """
        if not (embedding is None or embedding is RECORDED or embedding_function is None):
            raise TypeError("embedding and embedding_function are the same: pass one of them")
        given = embedding if embedding_function is None else embedding_function
        check_order(location, given, f"{type(self).__name__}(embedding, location)")
        check_names(options, opening_options(location), type(self).__name__, _HINTS)
        try:
            self._kb, self._shared = open_collection(location, as_embedder(given), **options), False
        except ConfigError as error:
            if location is not None or not isinstance(given, (str, PathLike)):
                raise
            folder = f"if {str(given)!r} is the folder of a collection, write {type(self).__name__}(location=...)"
            raise type(error)(
                f"{error.message}. The first argument is the embedding; {folder}", **error.details
            ) from error

    @classmethod
    def from_retriever(cls, kb: Retriever) -> Self:
        """Create a store over an open collection or a scope of one. Closing the store leaves the collection open."""
        store = cls.__new__(cls)
        store._kb, store._shared = collection(kb, "from_retriever"), True
        return store

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Any = RECORDED,
        metadatas: Iterable[dict[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """Open a store like the constructor, and add texts to it."""
        store = cls(embedding, **options)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Any = RECORDED,
        metadatas: Iterable[dict[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """Await `from_texts`."""
        store = await run_in_executor(None, cls, embedding, **options)
        try:
            await store.aadd_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def from_documents(cls, documents: Iterable[Document], embedding: Any = RECORDED, **options: Any) -> Self:
        """Open a store like the constructor, and add documents to it."""
        return super().from_documents(list(documents), embedding, **options)  # LangChain iterates over them twice

    @classmethod
    async def afrom_documents(cls, documents: Iterable[Document], embedding: Any = RECORDED, **options: Any) -> Self:
        """Await `from_documents`."""
        return await super().afrom_documents(list(documents), embedding, **options)

    @property
    def kb(self) -> Retriever:
        """The collection, for features without a LangChain equivalent."""
        return self._kb

    @property
    def embeddings(self) -> Embeddings | None:
        """The embedder as LangChain `Embeddings`, or None if the caller provides vectors."""
        embedder = self._kb.embedder
        if embedder is None:
            return None
        return embedder.embeddings if isinstance(embedder, EmbeddingsEmbedder) else TheodoliteEmbeddings(embedder)

    def close(self) -> None:
        """Release files and memory, unless the store was created with `from_retriever`."""
        if not self._shared:
            self._kb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed and store texts in one commit. An existing id is replaced; for a repeated id the last text stays.

        Args:
            texts: any iterable.
            metadatas: one for each text; None for a text without metadata.
            ids: one for each text. None or "" derives an id from the text and its metadata.
            kwargs: `batch_size`, which `index()` passes, has no effect.

        Returns:
            The ids, in the order of the texts.

        Raises:
            ValueError: lengths differ, or a value cannot be stored. Nothing is stored.
            TypeError: any other keyword.
        """
        return self._kb.add(_passages(texts, metadatas, ids, kwargs), batch_size=None)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Await `add_texts`."""
        return await self._kb.aadd(_passages(texts, metadatas, ids, kwargs), batch_size=None)

    def add_documents(
        self, documents: Iterable[Document], *, ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        """Embed and store documents, as in `add_texts`. `ids` override the documents' own ids."""
        return self._kb.add(_taken(documents, ids, kwargs), batch_size=None)

    async def aadd_documents(
        self, documents: Iterable[Document], *, ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        """Await `add_documents`."""
        return await self._kb.aadd(_taken(documents, ids, kwargs), batch_size=None)

    def delete(self, ids: Iterable[str] | None = None, *, filter: Any = None, **kwargs: Any) -> bool:
        """Delete documents by id, ignoring unknown ids, or delete documents that match a filter.

        Returns:
            True.

        Raises:
            ValueError: neither ids nor a filter is given, or both are. An accidental None must not delete everything.
        """
        chosen = self._chosen(ids, filter, kwargs)
        if chosen is not None:
            self._kb.delete(**chosen)
        return True

    async def adelete(self, ids: Iterable[str] | None = None, *, filter: Any = None, **kwargs: Any) -> bool:
        """Await `delete`."""
        chosen = await run_in_executor(None, self._chosen, ids, filter, kwargs)
        if chosen is not None:
            await self._kb.adelete(**chosen)
        return True

    def _chosen(self, ids: Iterable[str] | None, filter: Any, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        check_names(kwargs, {"ids", "filter"}, "delete", {"delete_all": "clear()", "where": "filter"})
        if (ids is None) == (filter is None):
            raise InputError("delete takes either ids or a filter; clear() deletes all documents")
        if ids is not None:
            names = [ids] if isinstance(ids, str) else list(ids)
            return {"ids": names} if names else None
        where, passes = split_filter(filter)
        if passes is None:
            return {"where": where if where is not None else {}}  # {} matches everything, so the core rejects it
        return {"ids": [passage.id for passage in self._kb.documents() if passes(from_core(passage))]}

    def clear(self) -> None:
        """Delete all documents. Metric and dimension stay fixed."""
        self._kb.clear()

    async def aclear(self) -> None:
        """Await `clear`."""
        await self._kb.aclear()

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents by id, in the given order. Unknown ids are skipped."""
        return [from_core(passage) for passage in self._kb.get(ids)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Await `get_by_ids`."""
        return [from_core(passage) for passage in await self._kb.aget(ids)]

    def as_retriever(self, **kwargs: Any) -> TheodoliteVectorStoreRetriever:
        """Return a retriever over this store that rejects unknown fields; see `VectorStore.as_retriever`."""
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return TheodoliteVectorStoreRetriever(vectorstore=self, tags=tags, **kwargs)


def _passages(
    texts: Iterable[str],
    metadatas: Iterable[dict[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
    kwargs: dict[str, Any],
) -> list[Passage]:
    check_names(kwargs, _ADDING, "add_texts")
    if isinstance(texts, str):
        raise InputError("texts is one text; pass a list of texts")
    listed = list(texts)
    entries = _as_many(metadatas, len(listed), "metadatas", "texts")
    names = _as_many(ids, len(listed), "ids", "texts")
    rows = zip(listed, entries, names, strict=True)
    return [Passage(text, {} if metadata is None else metadata, _id(name)) for text, metadata, name in rows]


def _taken(documents: Iterable[Document], ids: Iterable[str | None] | None, kwargs: dict[str, Any]) -> list[Passage]:
    check_names(kwargs, _ADDING, "add_documents")
    listed = [to_core(document) for document in documents]
    if ids is None:
        return listed
    names = _as_many(ids, len(listed), "ids", "documents")
    return [Passage(passage.text, passage.metadata, _id(name)) for passage, name in zip(listed, names, strict=True)]


def _id(name: Any) -> Any:
    """Convert an id for the core: "" asks for a derived one. The core rejects ids such as 0 that are not strings."""
    return "" if name is None else name


def _as_many(values: Iterable[Any] | None, count: int, what: str, whose: str) -> list[Any]:
    """Return one value per item, or None for each if `values` is None. Raises InputError if the lengths differ."""
    if values is None:
        return [None] * count
    if isinstance(values, (str, dict)):
        raise InputError(f"{what} is one {type(values).__name__}; pass a list, one for each of the {whose}")
    listed = list(values)
    if len(listed) != count:
        raise InputError(f"there are {len(listed)} {what} for {count} {whose}; each needs one. Nothing is stored")
    return listed
