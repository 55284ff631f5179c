"""Text for lexical search and for highlights: words, terms, sentences."""
