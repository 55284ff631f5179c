"""The command line for tests: in this process, which is quick, or in one of its own."""

import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from theodolite.cli.run import run

EMBEDDER = '''
"""An embedder of another package, slow if its argument says so."""
import time
from theodolite.testing import HashingEmbedder

class Plugin(HashingEmbedder):
    max_tokens = 12

    def __init__(self, pause="0"):
        super().__init__(64)
        self.pause = float(pause)

    def count_tokens(self, texts):
        return [len(text.split()) + 2 for text in texts]

    def encode_document(self, texts, /):
        time.sleep(self.pause)
        return super().encode_document(texts)
'''

PIPE = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}


class Shell:
    """Runs `theodolite` in a folder, with an embedder that another package brings: `words`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugin = folder / "plugin"
        about = self.plugin / "words-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[theodolite.embedders]\nwords = words:Plugin\n")
        (self.plugin / "words.py").write_text(EMBEDDER)
        path = os.pathsep.join(filter(None, (str(self.plugin), os.environ.get("PYTHONPATH"))))
        self.environment = {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1", "COLUMNS": "100"}
        self.environment.pop("PYTHONUNBUFFERED", None)  # what is left to flush at exit shows itself only without

    def fill(self) -> None:
        """Documents in `docs` and `notes.jsonl`, indexed into `kb`."""
        docs = self.folder / "docs"
        docs.mkdir()
        (docs / "refunds.md").write_text("# Refunds\n\nRefunds take five working days.")
        (docs / "hours.txt").write_text("The shop is open from nine to six.")
        (docs / "photo.jpg").write_bytes(b"\xff\xd8")
        record = {"id": "de", "text": "Rückgaben dauern fünf Tage.", "metadata": {"lang": "de", "n": 1}}
        (self.folder / "notes.jsonl").write_text(json.dumps(record))
        self.run("index", "kb", "docs", "notes.jsonl", "--embedder", "words")

    def run(self, *arguments: str, code: int = 0, given: str | bytes = b"") -> tuple[str, str]:
        """Return a command's stdout and stderr. It runs in this process; `given` is its stdin."""
        stdin, out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(3))
        stdin.buffer.write(given.encode() if isinstance(given, str) else given)
        stdin.seek(0)
        with chdir(self.folder), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "stdin", stdin):
            path = [str(self.plugin), *sys.path]
            with patch.object(sys, "path", path):
                got = run(arguments)
        stdout, stderr = (self._text(stream) for stream in (out, err))
        assert got == code, f"{got}: {stdout}{stderr}"
        assert "\x1b" not in stdout + stderr  # no colors behind a pipe
        return stdout, stderr

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options)[0])

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The command in a process of its own."""
        command = [sys.executable, "-m", "theodolite", *arguments]
        settings = {**PIPE, "cwd": self.folder, "env": self.environment, **options}
        process: subprocess.Popen[str] = subprocess.Popen(command, **settings)
        return process

    def apart(self, *arguments: str, code: int = 0, **options: Any) -> tuple[str, str]:
        """Return a command's stdout and stderr. It runs in its own process."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{process.returncode}: {out}{err}"
        return out, err

    @staticmethod
    def _text(stream: io.TextIOWrapper) -> str:
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()
