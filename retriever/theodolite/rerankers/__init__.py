"""Rerankers: models that read a query and a passage together. `resolve` makes one from what `rerank=` is given."""
