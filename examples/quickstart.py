"""Index the documentation inside Python's standard library, then ask it questions.

The texts are the docstrings of the Python that runs this script, so every machine has them. The script reads them from
the source files without importing the modules. The first run embeds them; later runs load them from the folder.
"""

import argparse
import ast
import importlib
import inspect
import io
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from textwrap import shorten

from theodolite import Document, Hits, Retriever, TheodoliteError

MODEL = "all-MiniLM-L6-v2"

QUESTIONS = (
    "how do I read a csv file with a header row?",
    "call a function after some seconds",
    "compare two sequences and show the differences",
    "a temporary directory that is deleted afterwards",
    "the largest items of a list",
    "write an object to a file",
)
JSON_QUESTION = "write an object to a file"

# Tests, jokes, graphical programs, and rarely used modules.
SKIPPED = {"antigravity", "bdb", "distutils", "encodings", "ensurepip", "idlelib", "imaplib", "importlib", "lib2to3"}
SKIPPED |= {"msilib", "ntpath", "nturl2path", "pickletools", "pydoc_data", "test", "this", "tkinter", "turtle"}
SKIPPED |= {"turtledemo", "wsgiref", "xml", "xmlrpc"}
SKIPPED_FOLDERS = {"_bundled", "_vendor", "test", "tests"}

# Public names of modules whose source is in a private module.
PUBLIC = {"_collections_abc": "collections.abc", "_pydatetime": "datetime", "_pydecimal": "decimal", "_pyio": "io"}
PUBLIC |= {"genericpath": "os.path", "posixpath": "os.path"}

# Compiled modules have no source. Importing these has no side effects.
COMPILED = {"builtins": "builtins", "_csv": "csv", "itertools": "itertools", "math": "math", "time": "time"}

SHORTEST = 60  # characters: drops docstrings such as "Return self."
LONGEST = 200  # characters of a passage, unless one sentence is longer
PASSAGES = {"module": 2, "class": 2, "function": 1, "method": 1}  # from each docstring; the rest is detail
BATCH = 256  # passages per commit
PAUSE = 3.0  # seconds between progress lines

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    parser = argparse.ArgumentParser(description="Index the docstrings of Python's standard library and ask questions.")
    parser.add_argument("--to", default="kb-stdlib", metavar="FOLDER", help="where the index is (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="index only N passages")
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal may not support all characters
    # Torch reads this when it loads. Without it, torch's threads spin when other programs keep them waiting.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        run(Path(options.to), options.limit)
    except KeyboardInterrupt:
        print(f"Interrupted. What was committed is kept in {options.to}.", file=sys.stderr)
        return 130
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(folder: Path, limit: int | None) -> None:
    documents = passages()[:limit]
    with Retriever.open(folder, embedder=MODEL, create=True) as kb:
        known = {document.id for document in kb.documents()}
        new = [document for document in documents if document.id not in known]
        if new:
            started = time.perf_counter()
            kb.add(with_progress(new), batch_size=BATCH)
            print(f"Indexed {len(new):,} passages into {folder} in {time.perf_counter() - started:.0f} s.")
        else:
            print(f"{folder} has {len(known):,} passages already; nothing to index.")
        for question, hits in zip(QUESTIONS, kb.search_many(QUESTIONS, k=3), strict=True):
            show(question, hits)
        where = {"module": "json"}
        show(f"{JSON_QUESTION}, where={where}", kb.search(JSON_QUESTION, k=3, where=where))


def with_progress(documents: list[Document]) -> Iterator[Document]:
    """Yield the documents, and print the progress to stderr every few seconds."""
    said = time.perf_counter()
    for number, document in enumerate(documents):
        if time.perf_counter() - said > PAUSE:
            said = time.perf_counter()
            print(f"{number:,} of {len(documents):,} passages", file=sys.stderr)
        yield document


def show(question: str, hits: Hits) -> None:
    print(f"\n{question}")
    for hit in hits:
        text = " ".join(hit.document.text.partition(": ")[2].split())
        sentence = SENTENCE_END.split(text)[0]
        print(f"  {hit.score:.2f}  {hit.document.id:<42} {shorten(sentence, 70, placeholder=' ...')}")


def passages() -> list[Document]:
    """Return all docstrings as passages. The modules are interleaved, so a small `--limit` covers them all."""
    turns: dict[str, int] = {}
    documents: dict[str, tuple[int, Document]] = {}
    for name, kind, docstring in docstrings():
        module = name.partition(".")[0]
        for number, text in enumerate(islice(pieces(docstring), PASSAGES[kind]), start=1):
            id = name if number == 1 else f"{name}#{number}"
            if id not in documents:
                turns[module] = turns.get(module, 0) + 1
                metadata = {"module": module, "kind": kind, "name": name}
                documents[id] = turns[module], Document(f"{name}: {text}", metadata, id)
    return [document for _, document in sorted(documents.values(), key=lambda pair: (pair[0], pair[1].id))]


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Yield the name, kind and docstring of every module, class, function and method with a public name."""
    library = Path(sysconfig.get_path("stdlib"))
    for module in sorted(sys.stdlib_module_names - SKIPPED):
        public = PUBLIC.get(module, module)
        if not public.startswith("_"):
            for path, name in sources(library, module, public):
                yield from read_source(ast.parse(path.read_bytes()), name, "module")
    for module, public in COMPILED.items():
        yield from read_objects(importlib.import_module(module), public, "module")


def sources(library: Path, module: str, public: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of a module or package, each with its public import name."""
    if (library / f"{module}.py").is_file():
        yield library / f"{module}.py", public
    for path in sorted((library / module).rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if not SKIPPED_FOLDERS.intersection(parts):
            yield path, ".".join(part for part in parts if not part.startswith("_"))


def read_source(node: ast.Module | Definition, name: str, kind: str) -> Iterator[tuple[str, str, str]]:
    yield name, kind, ast.get_docstring(node) or ""
    if kind in ("module", "class"):
        for child in definitions(node):
            if not child.name.startswith("_"):
                function = "method" if kind == "class" else "function"
                inner = "class" if isinstance(child, ast.ClassDef) else function
                yield from read_source(child, f"{name}.{child.name}", inner)


def definitions(node: ast.AST) -> Iterator[Definition]:
    """Yield the classes and functions of a body, including those within `if` and `try`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child
        elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler):
            yield from definitions(child)


def read_objects(item: object, name: str, kind: str) -> Iterator[tuple[str, str, str]]:
    yield name, kind, inspect.getdoc(item) or ""
    for key, child in sorted(vars(item).items()):
        if key.startswith("_"):
            continue
        if inspect.isclass(child) and kind == "module":
            yield from read_objects(child, f"{name}.{key}", "class")
        elif inspect.isroutine(child):
            yield f"{name}.{key}", "method" if kind == "class" else "function", inspect.getdoc(child) or ""


def pieces(docstring: str) -> Iterator[str]:
    """Yield runs of whole paragraphs. Long paragraphs are split into sentences, or into the lines of a table."""
    piece = ""
    for paragraph in docstring.split("\n\n"):
        parts = [paragraph]
        if len(paragraph) > LONGEST:
            parts = SENTENCE_END.split(paragraph)
        if max(map(len, parts)) > 2 * LONGEST:
            parts = paragraph.splitlines()
        for part in parts:
            if piece and len(piece) + len(part) > LONGEST:
                yield piece.strip()
                piece = ""
            piece += f"{part} "
        piece = f"{piece.rstrip()}\n\n"
    if len(piece.strip()) >= SHORTEST:
        yield piece.strip()


if __name__ == "__main__":
    sys.exit(main())
