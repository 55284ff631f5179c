"""Search over a remote store: what a store must offer (`source`), and the search built on it (`search`)."""
