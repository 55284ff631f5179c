"""LangChain adapter for theodolite: planned, not written yet."""
