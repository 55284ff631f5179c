"""Guards: detect an embedder or queries that no longer match the collection, before they lead to wrong results."""
