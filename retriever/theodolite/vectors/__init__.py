"""Vectors: `prepare` checks and normalizes them, `similarity` scores them, `transforms` reduce them."""
