"""Overview of a collection: its map, its similarities and its health, as plain data for pages to draw."""
