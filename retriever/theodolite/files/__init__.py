"""Files: `readers` split them into passages, `sync` keeps a collection in sync with folders."""
