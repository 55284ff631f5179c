"""Derived data: columns, codes and snapshots, which can be rebuilt from what is stored."""
