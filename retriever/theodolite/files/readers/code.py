"""The reader for source code: split at definitions, which tree-sitter finds."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from theodolite.errors import MissingExtraError
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Note, Unit
from theodolite.files.readers.text import whole_text
from theodolite.plugins import optional

LANGUAGES = {
    ".py": "python",
    ".pyi": "python",
    ".pyw": "python",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".java": "java",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "cpp",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
    ".hxx": "cpp",
    ".cs": "c_sharp",
    ".rb": "ruby",
    ".php": "php",
    ".sh": "bash",
    ".bash": "bash",
    ".zsh": "bash",
}
"""The language of a file by its suffix."""

_FUNCTIONS = [
    "function_definition",
    "function_declaration",
    "generator_function_declaration",
    "method_definition",
    "method_declaration",
    "constructor_declaration",
    "function_item",
    "macro_definition",
    "method",
    "singleton_method",
    "function_signature",
    "method_signature",
    "abstract_method_signature",
    "lexical_declaration",
    "variable_declaration",
]
_CONTAINERS = [
    "class_definition",
    "class_declaration",
    "abstract_class_declaration",
    "interface_declaration",
    "enum_declaration",
    "record_declaration",
    "struct_declaration",
    "trait_declaration",
    "namespace_declaration",
    "type_declaration",
    "type_alias_declaration",
    "internal_module",
    "struct_item",
    "enum_item",
    "union_item",
    "trait_item",
    "impl_item",
    "mod_item",
    "struct_specifier",
    "class_specifier",
    "union_specifier",
    "enum_specifier",
    "namespace_definition",
    "class",
    "module",
]
_AROUND = {"decorated_definition", "export_statement", "template_declaration"}  # begin before the definition they hold
_FUNCTION_VALUES = {"arrow_function", "function_expression", "generator_function"}
_SMALL = 800  # characters; a class or module up to this size is not split


@dataclass(slots=True)
class _Definition:
    """A definition, by its lines from 0. Those inside it are `inner`."""

    name: str
    start: int
    end: int
    inner: list["_Definition"] = field(default_factory=list)


def read_code(file: File, options: Options) -> Iterator[Unit | Note]:
    """Yield a unit for each function, method and class, and for the lines between them.

    A class that is larger than a few lines is split at its methods. Without the extra `code`, or for a language without
    a grammar, the file is read as plain text.
    """
    text = whole_text(file.path)
    language = LANGUAGES.get(file.path.suffix.lower(), "")
    try:
        tree = _definitions(text, language)
    except MissingExtraError as error:
        yield Note(file.source, f"read as plain text; {error.hint} splits code at definitions")
        yield Unit(text)
        return
    lines = text.splitlines(keepends=True)
    yield from _units(lines, _Definition("", 0, len(lines), tree), language)


def _units(lines: list[str], outer: _Definition, language: str) -> Iterator[Unit]:
    """Yield the lines of a definition, split at those inside it."""
    at = outer.start
    inner = outer.inner
    if outer.name and sum(map(len, lines[outer.start : outer.end])) <= _SMALL:
        inner = []
    for definition in inner:
        yield from _unit(lines[at : definition.start], at, outer.name, language)
        yield from _units(lines, definition, language)
        at = max(at, definition.end)
    yield from _unit(lines[at : outer.end], at, outer.name, language)


def _unit(lines: list[str], start: int, symbol: str, language: str) -> Iterator[Unit]:
    text = "".join(lines)
    if any(character.isalnum() for character in text):  # closing brackets alone are left out
        start += next(number for number, line in enumerate(lines) if line.strip())
        metadata: dict[str, Any] = {"language": language, "line": start + 1}
        if symbol:
            metadata["symbol"] = symbol
        yield Unit(textwrap.dedent(text), metadata=metadata)


def _definitions(text: str, language: str) -> list[_Definition]:
    """Return the definitions of a source file, without those inside functions.

    Raises:
        MissingExtraError: the extra `code` is not installed.
    """
    parser, query = _grammar(language)
    data = text.encode(errors="surrogatepass")
    with optional("code"):
        from tree_sitter import QueryCursor
    nodes = QueryCursor(query).captures(parser.parse(data).root_node).get("definition", [])
    nodes.sort(key=lambda node: (node.start_byte, -node.end_byte))
    found: list[_Definition] = []
    open_: list[tuple[int, _Definition, bool]] = []  # the definitions around a node: end, definition, is a function
    for node in nodes:
        while open_ and open_[-1][0] <= node.start_byte:
            open_.pop()
        name = _name(node)
        if not name or (open_ and open_[-1][2]):
            continue
        outer = open_[-1][1] if open_ else None
        start, siblings = _start(node), outer.inner if outer else found
        # Two definitions may share a line: the second belongs to the first.
        if siblings and start < siblings[-1].end:
            continue
        joint = "::" if language in ("cpp", "rust") else "."
        full = f"{outer.name}{joint}{name}" if outer else name
        end = node.end_point[0] + (node.end_point[1] > 0)
        definition = _Definition(full, start, max(end, start + 1))
        if outer:
            outer.end = max(outer.end, definition.end)
        siblings.append(definition)
        open_.append((node.end_byte, definition, node.type in _FUNCTIONS))
    return found


def _start(node: Any) -> int:
    """Return the first line of a definition, with decorators, attributes and comments right above it."""
    while node.parent is not None and node.parent.type in _AROUND:
        node = node.parent
    start: int = node.start_point[0]
    above = node.prev_sibling
    while above is not None and ("comment" in above.type or "attribute" in above.type):
        if above.end_point[0] + (above.end_point[1] > 0) < start:  # some comments end after their line break
            break
        if above.prev_sibling is not None and above.prev_sibling.end_point[0] == above.start_point[0]:
            break  # a comment behind other code
        start, above = above.start_point[0], above.prev_sibling
    return start


def _name(node: Any) -> str:
    """Return the name of a definition, or "" for a node that does not define anything on its own."""
    if node.type in ("lexical_declaration", "variable_declaration"):
        declared = [each for each in node.named_children if each.type == "variable_declarator"]
        value = declared[0].child_by_field_name("value") if len(declared) == 1 else None
        if value is None or value.type not in _FUNCTION_VALUES:
            return ""
        node = declared[0]
    elif node.type.endswith("_specifier") and node.child_by_field_name("body") is None:
        return ""  # a use of a type in C
    elif node.type == "type_declaration" and node.named_child_count:  # Go
        node = node.named_children[0]
    found = node.child_by_field_name("name")
    if found is None and node.type == "impl_item":
        found = node.child_by_field_name("type")
    while found is None and (inner := node.child_by_field_name("declarator")) is not None:  # C
        node = inner
        if node.child_by_field_name("declarator") is None:
            found = node
    return " ".join(found.text.decode(errors="replace").split())[:200] if found is not None else ""


@cache
def _grammar(language: str) -> tuple[Any, Any]:
    """Return the parser of a language, and the query for its definitions.

    Raises:
        MissingExtraError: the extra `code` is not installed.
    """
    with optional("code"):
        import tree_sitter
    package = "typescript" if language == "tsx" else language
    with optional("code"):
        module = import_module(f"tree_sitter_{package}")
    make = getattr(module, f"language_{language}", None) or module.language
    grammar = tree_sitter.Language(make())
    kinds = [kind for kind in (*_FUNCTIONS, *_CONTAINERS) if grammar.id_for_node_kind(kind, True) is not None]
    query = tree_sitter.Query(grammar, f"[{' '.join(f'({kind})' for kind in kinds)}] @definition")
    return tree_sitter.Parser(grammar), query
