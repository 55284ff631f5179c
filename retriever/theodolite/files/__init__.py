"""Files: `readers` split files into passages, and `sync` keeps a collection in sync with folders."""
