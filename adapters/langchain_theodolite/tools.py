"""A search tool for agents. Its schema shows the fields to filter by."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema, create_model

from langchain_theodolite.documents import from_core
from langchain_theodolite.rerankers import as_stage
from langchain_theodolite.searching import collection
from theodolite import Boost, InputError, Retriever, SearchTool
from theodolite.integration import verdict_details

_LONG = 64
"""Error messages repeat a model's input only up to this many characters."""

_Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8192)]


def theodolite_tool(
    kb: Retriever,
    name: str = "search_documents",
    description: str = "Search the documents for passages that answer a question.",
    *,
    fields: Iterable[str] | None = None,
    scope: Any = None,
    k: int = 4,
    mode: Literal["dense", "lexical", "hybrid"] = "dense",
    boosts: Boost | Iterable[Boost] = (),
    versions: Any = None,
    rerank: Any = None,
    date_field: str | None = None,
) -> StructuredTool:
    """Create a tool for `create_agent` or `bind_tools`. Its arguments follow the collection's current contents.

    The model sees the query, the number of passages, `since` and `until` if there is a `date_field`, and a `filter`.
    For each field the filter shows the values if there are few, else a range or any text. The model's input is parsed
    as a filter and never evaluated. Invalid filters and unknown fields return a message that the model can use to
    correct itself. No input can reach documents outside `scope`, or outside `kb` if that is a scope.

    The model reads the names and values of fields. Pass `fields` if untrusted users write metadata. Long values are
    truncated.

    Args:
        kb: an open collection, a scope of one, or a store.
        name: the tool's name, for the model.
        description: when to use it, for the model.
        fields: the fields to filter by and to show with the passages. None selects up to 24 fields that most documents
            have, without fields that hold the same value everywhere and names that some chat models reject.
        scope: a filter that limits the tool, such as `{"tenant": "acme"}`.
        k: the number of passages, unless the model asks for another number, at most 20.
        mode: `dense`, `lexical` or `hybrid`, as in `Retriever.search`, like `boosts`, `versions` and `rerank`.
        date_field: the field that `since` and `until` apply to.

    Returns:
        A tool. Its content is numbered passages with their ids. Its artifact is the LangChain Documents, with `score`
        (higher is better) and `rank` under `theodolite` in their metadata.

    Raises:
        InputError: no document has one of `fields`, or k is below 1. FilterError: `scope` is not a valid filter.
            ConfigError: `rerank` is not a valid reranker.
    """
    searching = SearchTool(
        collection(kb, "theodolite_tool"),
        fields=fields,
        scope=scope,
        k=k,
        date_field=date_field,
        mode=mode,
        boosts=boosts,
        versions=versions,
        rerank=None if rerank is None else as_stage(rerank),
    )

    def search(**arguments: Any) -> tuple[str, list[Document]]:
        try:
            hits = searching.search(arguments)
        except InputError as error:
            raise ToolException(str(error)) from error
        return searching.passages(hits), [
            from_core(hit.document, theodolite={"score": hit.score, "rank": hit.rank, **verdict_details(hits)})
            for hit in hits
        ]

    return StructuredTool.from_function(
        search,
        name=name,
        description=description,
        args_schema=_arguments(name, searching.parameters["properties"], k),
        infer_schema=False,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_refusal,
    )


def _arguments(name: str, properties: dict[str, Any], k: int) -> type[BaseModel]:
    """Return a pydantic model that is the schema of the tool's arguments and parses them."""
    number, text = properties["k"], properties["query"]["description"]
    arguments: dict[str, Any] = {
        "query": (_Query, Field(description=text)),
        "k": (_number(number["maximum"]), Field(k, description=number["description"])),
    }
    for argument, kind in (("since", str), ("until", str), ("filter", dict[str, Any])):
        if argument in properties:
            arguments[argument] = (Annotated[kind | None, WithJsonSchema(properties[argument])], None)
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **arguments)


def _number(most: int) -> Any:
    """Return the type of an integer argument. The model may pass null for the default."""
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Annotated[Annotated[int, Field(ge=1, le=most)] | None, WithJsonSchema(schema)]


def _refusal(error: Any) -> str:
    """Return a message about the invalid arguments that the model can use to correct them."""
    if not isinstance(error, ValidationError):
        return "The arguments do not fit the tool."
    found = [f"{'.'.join(map(str, one['loc']))[:_LONG]}: {one['msg']}" for one in error.errors(include_input=False)[:5]]
    return "The arguments do not fit the tool. " + "; ".join(found)
