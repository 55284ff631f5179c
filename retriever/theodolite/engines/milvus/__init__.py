"""The Milvus engine: documents with their vectors in a collection of a Milvus server."""

from theodolite.engines.milvus.engine import MilvusEngine

__all__ = ["MilvusEngine"]
