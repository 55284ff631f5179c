"""The audit of vectors: `scan` and `geometry` measure them, `checks` judge the measurements."""
