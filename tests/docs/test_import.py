"""`import theodolite` is light, and `__all__` is complete."""

import json
import subprocess
import sys
from importlib.metadata import version

import theodolite

HEAVY = {
    "hypothesis",
    "langchain_core",
    "llama_index",
    "pytest",
    "sentence_transformers",
    "torch",
    "transformers",
}

# Packages that only the tests of this project need: not installed where others use `theodolite.testing`.
TEST_ONLY = ("hypothesis", "pytest", "_pytest", "langchain_core", "llama_index")

MAX_SECONDS = 0.2
NUMPY_SECONDS = 0.08  # where nothing else runs
RUNS = 5


def run(code: str) -> str:
    """Return the output of `code` in a new interpreter that sees neither this folder nor the user's settings."""
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = json.loads(run("import json, sys, theodolite; print(json.dumps(list(sys.modules)))"))
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


def test_testing_needs_no_package_for_tests() -> None:
    """Its contracts run as plain functions where pytest and hypothesis cannot be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({TEST_ONLY!r}))\n"
        "import theodolite.testing as testing\n"
        "class Mine(testing.EmbedderContract):\n"
        "    def embedder(self): return testing.HashingEmbedder()\n"
        "promises = [name for name in dir(Mine) if name.startswith('test_')]\n"
        "for name in promises: getattr(Mine(), name)()\n"
        "print(len(promises), *[name for name in testing.__all__ if not hasattr(testing, name)])"
    )
    number, *missing = run(code).split()
    assert int(number) > 5
    assert missing == []


def test_the_version_is_that_of_the_package() -> None:
    code = "import sys, theodolite; early = 'importlib.metadata' in sys.modules; print(theodolite.__version__, early)"
    assert run(code).split() == [version("theodolite"), "False"]


def test_import_is_quick() -> None:
    """The one test that measures time. A machine that is busy takes longer for numpy, too: that is the scale.

    The best of several runs: the others measure what else runs here.
    """
    clock = "print(time.perf_counter() - start)"
    code = f"import time; start = time.perf_counter(); import numpy; {clock}; import theodolite; {clock}"
    taken = [tuple(map(float, run(code).split())) for _ in range(RUNS)]
    assert min(both / max(1.0, numpy / NUMPY_SECONDS) for numpy, both in taken) < MAX_SECONDS


def test_all_is_sorted_without_repetition() -> None:
    assert list(theodolite.__all__) == sorted(set(theodolite.__all__))


def test_all_names_can_be_imported() -> None:
    missing = [name for name in theodolite.__all__ if not hasattr(theodolite, name)]
    assert missing == []
