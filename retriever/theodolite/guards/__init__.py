"""Guards: they compare what is with what was, and refuse where the difference would be silent."""
