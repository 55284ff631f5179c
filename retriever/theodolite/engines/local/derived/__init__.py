"""Derived data: columns, codes and snapshots, which can be rebuilt from the stored documents and vectors."""
