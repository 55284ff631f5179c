"""A search tool for agents, which knows what the collection can be filtered by."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import FunctionTool, ToolOutput
from pydantic import BaseModel, ConfigDict, WithJsonSchema, create_model

from llama_index_theodolite.documents import RESERVED, from_core
from llama_index_theodolite.filters import as_where
from llama_index_theodolite.retrievers import TheodoliteRetriever, collection
from theodolite import Boost, Hits, InputError, SearchTool
from theodolite.integration import as_rerank


def as_tool(
    kb: Any,
    name: str = "search_documents",
    description: str = "Search the documents for passages that answer a question.",
    *,
    fields: Iterable[str] | None = None,
    scope: Any = None,
    k: int | None = None,
    mode: Literal["dense", "lexical", "hybrid"] | None = None,
    boosts: Boost | Iterable[Boost] | None = None,
    versions: Any = None,
    rerank: Any = None,
    date_field: str | None = None,
) -> FunctionTool:
    """A tool for `FunctionAgent` and the like; what it takes is made from what the collection holds now.

    The model sees the query, how many passages, `since` and `until` where there is a `date_field`, and a `filter`: for
    each field its values where they are few, else a range or any text. What it sends is parsed as a filter, never
    evaluated; what is none comes back as a message it can correct itself by, as do fields that are not offered. Nothing
    it sends leads out of `scope`, nor out of `kb` if that is a scope. The query is searched for as it was sent;
    LlamaIndex's own `RetrieverTool` would put "input is" before it.

    The names and values of fields are part of what the model reads: name `fields` where strangers write metadata. Of
    long values it reads the beginning.

    Args:
        kb: an open collection, a scope of one, a `TheodoliteVectorStore`, or a `TheodoliteRetriever`: the tool then has
            all its options, and is confined by its scope and its filters. Options given here take the place of its own;
            `scope` narrows it.
        name: the tool's name, for the model.
        description: when to use it, for the model.
        fields: what may be filtered by, and is shown with the passages. None takes up to 24 that most documents have,
            but for those that hold the same in all, and those whose names not every chat model takes.
        scope: a filter that confines the tool, such as `{"tenant": "acme"}`.
        k: passages, unless the model asks for another number, of at most 20; None for the retriever's
            `similarity_top_k`, or 4.
        mode: `dense`, `lexical` or `hybrid`, as in `Retriever.search`, like `boosts`, `versions` and `rerank`.
        date_field: the field that `since` and `until` are about.

    Returns:
        A tool, sync and async. The content of its ToolOutput is numbered passages with their ids, and `raw_output` the
        nodes with their scores (higher is better); where what was sent does not fit, `is_error` is set.

    Raises:
        InputError: no document has a field that is named; k below 1; `kb` is none of these. FilterError: `scope` is no
            filter. ConfigError: `rerank` is no reranker.
    """
    stage = None if rerank is None else as_rerank(rerank)
    given = {"mode": mode, "boosts": boosts, "versions": versions, "rerank": stage}
    options = {option: value for option, value in given.items() if value is not None}
    if isinstance(kb, TheodoliteRetriever):
        where, options, k = as_where(kb.filters), {**kb.options, **options}, kb.similarity_top_k if k is None else k
        kb = kb.kb if where is None else kb.kb.scoped(where)
    kb = collection(kb, "as_tool")
    searching = SearchTool(
        kb,
        fields=fields,
        scope=scope,
        k=4 if k is None else k,
        date_field=date_field,
        leave_out=RESERVED,  # what is kept of a node, no metadata of anybody's
        **options,
    )

    def found(arguments: dict[str, Any], hits: Hits | InputError) -> ToolOutput:
        told: dict[str, Any] = {"tool_name": name, "raw_input": {"args": (), "kwargs": arguments}}
        if isinstance(hits, InputError):
            return ToolOutput(content=str(hits), raw_output=str(hits), is_error=True, exception=hits, **told)
        nodes: list[NodeWithScore] = [NodeWithScore(node=from_core(hit.document), score=hit.score) for hit in hits]
        return ToolOutput(content=searching.passages(hits), raw_output=nodes, **told)

    def search(*query: Any, **arguments: Any) -> ToolOutput:
        sent = _sent(query, arguments)
        try:
            return found(sent, searching.search(sent))
        except InputError as error:
            return found(sent, error)

    async def asearch(*query: Any, **arguments: Any) -> ToolOutput:
        sent = _sent(query, arguments)
        try:
            return found(sent, await searching.asearch(sent))
        except InputError as error:
            return found(sent, error)

    return FunctionTool.from_defaults(
        search,
        async_fn=asearch,
        name=name,
        description=description,
        fn_schema=_arguments(name, searching.parameters),
        # The output is made here: LlamaIndex makes its own of whatever a function returns, but keeps one of a callback.
        callback=_itself,
        async_callback=_aitself,
    )


def _sent(positional: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name: some agents pass a single one without."""
    if not positional:
        return arguments
    return {**dict(zip(("query", "k"), positional, strict=False)), **arguments}


def _itself(output: ToolOutput) -> ToolOutput:
    return output


async def _aitself(output: ToolOutput) -> ToolOutput:
    return output


def _arguments(name: str, parameters: dict[str, Any]) -> type[BaseModel]:
    """The schema as a model, which LlamaIndex asks for; it is never used to read arguments: `SearchTool` does that."""
    arguments: dict[str, Any] = {
        argument: (
            Annotated[Any, WithJsonSchema(shape)],
            ... if argument in parameters["required"] else shape.get("default"),
        )
        for argument, shape in parameters["properties"].items()
    }
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **arguments)
