"""Rerankers: models that read a query and a document together. `resolve` makes one from anything `rerank=` accepts."""
