"""The explorer: a page of the server to search a collection, and to see why documents are found, or not."""
