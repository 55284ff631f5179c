"""A search tool for agents. Its schema shows the fields to filter by."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import FunctionTool, ToolOutput
from pydantic import BaseModel, ConfigDict, WithJsonSchema, create_model

from llama_index_theodolite.documents import RESERVED, from_core, with_details
from llama_index_theodolite.filters import as_where
from llama_index_theodolite.retrievers import TheodoliteRetriever, collection
from theodolite import Boost, Hits, InputError, SearchTool
from theodolite.integration import as_rerank, verdict_details


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
    """Create a tool for `FunctionAgent` and other agents. Its arguments follow the collection's current contents.

    The model sees the query, the number of passages, `since` and `until` if there is a `date_field`, and a `filter`.
    For each field the filter shows the values if there are few, else a range or any text. The model's input is parsed
    as a filter and never evaluated. Invalid filters and unknown fields return a message that the model can use to
    correct itself. No input can reach documents outside `scope`, or outside `kb` if that is a scope. The query is
    searched for exactly as sent; LlamaIndex's own `RetrieverTool` would put "input is" before it.

    The model reads the names and values of fields. Pass `fields` if untrusted users write metadata. Long values are
    truncated.

    Args:
        kb: an open collection, a scope of one, a `TheodoliteVectorStore`, or a `TheodoliteRetriever`. With a retriever
            the tool takes all its options, its scope and its filters. Options given here override them; `scope`
            narrows.
        name: the tool's name, for the model.
        description: when to use it, for the model.
        fields: the fields to filter by and to show with the passages. None selects up to 24 fields that most documents
            have, without fields that hold the same value everywhere and names that some chat models reject.
        scope: a filter that limits the tool, such as `{"tenant": "acme"}`.
        k: the number of passages, unless the model asks for another number, at most 20. None takes the retriever's
            `similarity_top_k`, or 4.
        mode: `dense`, `lexical` or `hybrid`, as in `Retriever.search`, like `boosts`, `versions` and `rerank`.
        date_field: the field that `since` and `until` apply to.

    Returns:
        A tool, sync and async. The content of its ToolOutput is numbered passages with their ids. `raw_output` is the
        nodes with their scores (higher is better). For invalid input `is_error` is set.

    Raises:
        InputError: no document has one of `fields`, k is below 1, or `kb` is of another type. FilterError: `scope` is
            not a valid filter. ConfigError: `rerank` is not a valid reranker.
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
        leave_out=RESERVED,  # stored node fields, not user metadata
        **options,
    )

    def found(arguments: dict[str, Any], hits: Hits | InputError) -> ToolOutput:
        output: dict[str, Any] = {"tool_name": name, "raw_input": {"args": (), "kwargs": arguments}}
        if isinstance(hits, InputError):
            return ToolOutput(content=str(hits), raw_output=str(hits), is_error=True, exception=hits, **output)
        nodes: list[NodeWithScore] = [
            NodeWithScore(node=with_details(from_core(hit.document), verdict_details(hits)), score=hit.score)
            for hit in hits
        ]
        return ToolOutput(content=searching.passages(hits), raw_output=nodes, **output)

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
        # LlamaIndex wraps the return value of a function, but keeps a ToolOutput from a callback.
        callback=_itself,
        async_callback=_aitself,
    )


def _sent(positional: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name. Some agents pass a single argument by position."""
    if not positional:
        return arguments
    return {**dict(zip(("query", "k"), positional, strict=False)), **arguments}


def _itself(output: ToolOutput) -> ToolOutput:
    return output


async def _aitself(output: ToolOutput) -> ToolOutput:
    return output


def _arguments(name: str, parameters: dict[str, Any]) -> type[BaseModel]:
    """Return the schema as a pydantic model, as LlamaIndex requires. `SearchTool` itself parses the arguments."""
    arguments: dict[str, Any] = {
        argument: (
            Annotated[Any, WithJsonSchema(shape)],
            ... if argument in parameters["required"] else shape.get("default"),
        )
        for argument, shape in parameters["properties"].items()
    }
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **arguments)
