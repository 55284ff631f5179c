"""Embedders: objects that turn texts into vectors. `resolve` makes one from anything that `embedder=` accepts."""
