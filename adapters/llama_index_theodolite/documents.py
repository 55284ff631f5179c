"""Conversion between LlamaIndex nodes and theodolite documents. It keeps node kinds, relationships and templates."""

import json
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    Node,
    TextNode,
)

from theodolite import Document as Passage
from theodolite import DocumentError
from theodolite.integration import HIT_DETAILS

CONTENT = "_node_content"
TYPE = "_node_type"
SOURCE = "ref_doc_id"
RESERVED = frozenset({CONTENT, TYPE, SOURCE, "doc_id", "document_id"})
"""Fields of a stored document that describe its node. The names are LlamaIndex's own, so filters may use them."""

_NONE = "None"  # LlamaIndex's filters see this value for a node without a source
_MEDIA = ("text_resource", "image_resource", "audio_resource", "video_resource")
_KINDS: dict[str, type[BaseNode]] = {
    kind.class_name(): kind for kind in (TextNode, ImageNode, IndexNode, Node, Document, ImageDocument)
}


def to_core(node: BaseNode) -> Passage:
    """Convert a node to a theodolite document.

    Metadata keeps its types, such as dates. A metadata field with a reserved name is kept, but filters see the node's
    own value, as in LlamaIndex's own stores.

    Raises:
        DocumentError: the node contains a value that cannot be written as JSON.
    """
    try:
        # Leave out the default values of a new node, so a plain node needs no JSON. A subclass may have other defaults
        # than the class it is read back as.
        own = _KINDS.get(node.class_name()) is not type(node)
        content = node.model_dump(mode="json", exclude={"id_", "embedding", "metadata"}, exclude_defaults=not own)
        content.pop("class_name", None)
        if isinstance(node, Node):
            content.setdefault("text_resource", None)
        metadata = node.metadata
        if not RESERVED.isdisjoint(metadata):
            # Keep all names, because their order affects the embedded text. Keep only the values of reserved names.
            content["metadata"] = {key: metadata[key] if key in RESERVED else None for key in metadata}
        for name in _MEDIA:
            data = getattr(getattr(node, name, None), "data", None)
            if data is not None:  # base64, which LlamaIndex's own JSON omits
                content[name]["data"] = data.decode()
        text = _taken(content)
        written = json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError) as error:  # pydantic's and LlamaIndex's errors are ValueErrors
        raise DocumentError(f"node {node.node_id!r} cannot be written as JSON: {error}", id=node.node_id) from error
    source = node.ref_doc_id or _NONE
    added = {CONTENT: written, TYPE: node.class_name(), SOURCE: source, "doc_id": source, "document_id": source}
    return Passage(text, {**metadata, **added}, node.node_id)


def from_core(passage: Passage) -> BaseNode:
    """Convert a stored document to a new node of its kind, or to a TextNode if it was not stored as a node.

    A subclass unknown to LlamaIndex comes back as its base: a TextNode or a Node.
    """
    metadata = {key: value for key, value in passage.metadata.items() if key not in RESERVED}
    written = passage.metadata.get(CONTENT)
    if not isinstance(written, str):
        return TextNode(id_=passage.id, text=passage.text, metadata={**passage.metadata})
    content: dict[str, Any] = {} if written == "{}" else json.loads(written)
    covered = content.get("metadata")
    if covered:
        names = dict.fromkeys([*covered, *metadata])
        metadata = {
            name: covered[name] if name in RESERVED else metadata[name]
            for name in names
            if name in RESERVED or name in metadata
        }
    kind = _KINDS.get(str(passage.metadata.get(TYPE))) or (Node if "text_resource" in content else TextNode)
    if issubclass(kind, TextNode):
        content["text"] = passage.text
    elif content.get("text_resource"):
        content["text_resource"].setdefault("text", passage.text)
    return kind.from_dict({**content, "id_": passage.id, "metadata": metadata})


def with_details(node: BaseNode, details: dict[str, Any]) -> BaseNode:
    """Add details of a search to a node's metadata, where embedders and language models do not see them."""
    if details:
        node.metadata = {**node.metadata, HIT_DETAILS: details}
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, HIT_DETAILS]
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, HIT_DETAILS]
    return node


def _taken(content: dict[str, Any]) -> str:
    """Remove the node's text from `content` and return it. It is stored as the document's text."""
    resource = content.get("text_resource")
    if isinstance(resource, dict):
        content.pop("text", None)  # a Document repeats its text here
        if resource.setdefault("text", None) is None:
            return ""
        return str(resource.pop("text"))
    return content.pop("text", None) or ""
