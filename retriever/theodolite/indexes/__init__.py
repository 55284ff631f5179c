"""Indexes: rows and prepared vectors. They know no text and no filter.

`flat` is exact and the only one that scores; any other index proposes rows to it.
"""
