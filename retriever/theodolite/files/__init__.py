"""Files: `readers` split them into passages, `sync` keeps a collection in step with folders."""
