"""The PostgreSQL engine: documents and vectors in tables, with pgvector."""

from theodolite.engines.postgres.engine import PostgresEngine

__all__ = ["PostgresEngine"]
