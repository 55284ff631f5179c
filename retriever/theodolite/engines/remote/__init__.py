"""Search over a remote store: the interface of a store (`source`), and the search built on it (`search`)."""
