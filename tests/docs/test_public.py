"""The public names, their docstrings, and the tree of errors."""

import inspect
import re

import pytest

import theodolite
from theodolite import errors

PUBLIC = [
    "Alert",
    "Audit",
    "Authority",
    "Boost",
    "Calibration",
    "Candidates",
    "Center",
    "CollectionNotFoundError",
    "CollectionNotFoundWarning",
    "CollectionSettings",
    "Comparison",
    "ConfigError",
    "Context",
    "CorruptionError",
    "Diff",
    "Document",
    "DocumentError",
    "DriftWarning",
    "Duplicate",
    "Embedder",
    "EmbedderDriftError",
    "EmbedderOptions",
    "EmbedderSpec",
    "Engine",
    "EngineError",
    "Evaluation",
    "F",
    "Field",
    "FilterError",
    "Finding",
    "ForkGate",
    "Freshness",
    "Fusion",
    "Hit",
    "Hits",
    "IndexWarning",
    "InputError",
    "IntegrityError",
    "JudgedQuestions",
    "JudgmentWarning",
    "Latest",
    "LockedError",
    "MMR",
    "ManifestError",
    "MetadataWarning",
    "MetricMismatchError",
    "MissingExtraError",
    "Monitor",
    "Pca",
    "QuoteCheck",
    "RECORDED",
    "Recall",
    "Report",
    "Rerank",
    "RerankError",
    "Reranker",
    "Retriever",
    "SearchOptions",
    "SearchTool",
    "Superseded",
    "TheodoliteError",
    "Trace",
    "Truncate",
    "TruncationWarning",
    "UnfinishedCopyWarning",
    "UnsupportedError",
    "Valid",
    "VectorError",
    "Verdict",
    "Whiten",
    "WhyNot",
    "Window",
    "audit",
    "diff",
    "instant",
    "register_at_fork",
    "verify_quotes",
]

# A line of the tree: indentation, name, the built-in error it also is, meaning.
LINE = re.compile(r"^(?P<indent> {4,})(?P<name>[A-Z]\w*Error)(?: \((?P<builtin>\w+)\))?(?: {2,}(?P<meaning>\S.*))?$")


def methods() -> list[tuple[str, object]]:
    """The public methods and properties that the public classes define themselves."""
    return [
        (f"{name}.{key}", member)
        for name in PUBLIC
        for key, member in vars(getattr(theodolite, name)).items()
        if not key.startswith("_") and isinstance(member, property | classmethod | staticmethod | type(methods))
    ]


def documented_tree() -> dict[str, tuple[str | None, str | None]]:
    """Parent and built-in base of each error in the module's docstring."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := LINE.match(line):
            indent = len(found["indent"])
            while above and above[-1][0] >= indent:
                above.pop()
            tree[found["name"]] = above[-1][1] if above else None, found["builtin"]
            above.append((indent, found["name"]))
    return tree


def real_tree() -> dict[str, tuple[str | None, str | None]]:
    """The same of each error class."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.TheodoliteError):
            ours = [parent.__name__ for parent in kind.__bases__ if issubclass(parent, errors.TheodoliteError)]
            others = [parent.__name__ for parent in kind.__bases__ if parent.__module__ == "builtins"]
            builtin = others[0] if others and others != ["Exception"] else None
            tree[name] = ours[0] if ours else None, builtin
    return tree


def test_all_is_this_list() -> None:
    assert list(theodolite.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_a_docstring(name: str) -> None:
    public = getattr(theodolite, name)
    docstring = (vars(public).get("__doc__") if inspect.isclass(public) else inspect.getdoc(public)) or ""
    assert docstring.strip()
    assert not docstring.startswith(f"{name}("), "this is the docstring that dataclasses generate"


@pytest.mark.parametrize(("name", "member"), methods(), ids=lambda value: value if isinstance(value, str) else "")
def test_public_methods_have_a_docstring(name: str, member: object) -> None:
    # The protocols' attributes are described in the docstring of their class.
    owner = getattr(theodolite, name.partition(".")[0])
    attribute = name.partition(".")[2]
    described = isinstance(member, property) and f"`{attribute}`" in (owner.__doc__ or "")
    assert described or inspect.getdoc(member)


def test_the_errors_are_those_of_the_tree_drawn_above_them() -> None:
    assert documented_tree() == real_tree()


def test_every_error_is_public() -> None:
    assert set(real_tree()) <= set(theodolite.__all__)
