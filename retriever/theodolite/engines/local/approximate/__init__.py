"""Approximate indexes of a collection: built aside, verified before they are loaded, swapped in, kept up.

What they are, and how they are searched, is in `theodolite.indexes`; here are their files (`record`), how one is built
(`build`), and when that happens by itself (`upkeep`).
"""
