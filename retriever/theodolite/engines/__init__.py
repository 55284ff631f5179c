"""Engines: documents, vectors and requests. `local` is the embedded one."""
