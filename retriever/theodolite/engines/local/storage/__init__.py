"""Storage: the database, the vector file, and the commit protocol that binds them."""
