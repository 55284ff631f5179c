"""The audit of vectors: `measurements` measures them, and `checks` judge the measurements."""
