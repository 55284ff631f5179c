"""A search tool for agents, which knows what the collection can be filtered by."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema, create_model

from langchain_theodolite.documents import from_core
from langchain_theodolite.rerankers import as_stage
from langchain_theodolite.searching import collection
from theodolite import Boost, InputError, Retriever, SearchTool

_LONG = 64
"""What a model has sent is not told back to it at greater length."""

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
    """A tool for `create_agent` or `bind_tools`; what it takes is made from what the collection holds now.

    The model sees the query, how many passages, `since` and `until` where there is a `date_field`, and a `filter`: for
    each field its values where they are few, else a range or any text. What it sends is parsed as a filter, never
    evaluated; what is none comes back as a message it can correct itself by, as do fields that are not offered. Nothing
    it sends leads out of `scope`, nor out of `kb` if that is a scope.

    The names and values of fields are part of what the model reads: name `fields` where strangers write metadata. Of
    long values it reads the beginning.

    Args:
        kb: an open collection, a scope of one, or a store.
        name: the tool's name, for the model.
        description: when to use it, for the model.
        fields: what may be filtered by, and is shown with the passages. None takes up to 24 that most documents have,
            but for those that hold the same in all, and those whose names not every chat model takes.
        scope: a filter that confines the tool, such as `{"tenant": "acme"}`.
        k: passages, unless the model asks for another number, of at most 20.
        mode: `dense`, `lexical` or `hybrid`, as in `Retriever.search`, like `boosts`, `versions` and `rerank`.
        date_field: the field that `since` and `until` are about.

    Returns:
        A tool whose content is numbered passages with their ids, and whose artifact is the LangChain Documents, with
        `score` (higher is better) and `rank` under `theodolite` in their metadata.

    Raises:
        InputError: no document has a field that is named; k below 1. FilterError: `scope` is no filter. ConfigError:
            `rerank` is no reranker.
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
            from_core(hit.document, theodolite={"score": hit.score, "rank": hit.rank}) for hit in hits
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
    """The schema of the tool's arguments, as a model that reads them."""
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
    """A whole number for the model; null means that it does not matter."""
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Annotated[Annotated[int, Field(ge=1, le=most)] | None, WithJsonSchema(schema)]


def _refusal(error: Any) -> str:
    """What was wrong with the arguments, for the model to correct."""
    if not isinstance(error, ValidationError):
        return "The arguments do not fit the tool."
    found = [f"{'.'.join(map(str, one['loc']))[:_LONG]}: {one['msg']}" for one in error.errors(include_input=False)[:5]]
    return "The arguments do not fit the tool. " + "; ".join(found)
