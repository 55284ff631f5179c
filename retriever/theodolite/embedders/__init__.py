"""Embedders: objects that turn texts into vectors. `resolve` makes one from what `embedder=` is given."""
