"""The recommendations beat the best sellers, and the dot product the cosine of the same vectors."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RECOMMEND = Path(__file__).resolve().parents[2] / "examples" / "recommend.py"


def recommend(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECOMMEND), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="module")
def output() -> str:
    done = recommend("--like", "cader-axe", "jura-rope")
    assert done.returncode == 0, done.stderr
    return done.stdout


def products(line: str, output: str) -> list[str]:
    """The products that stand in a line after its first words."""
    found = re.search(rf"^{line} +(.+)$", output, re.MULTILINE)
    assert found, line
    return found[1].split(", ")


def test_length_is_worth_something(output: str) -> None:
    found = {name: int(share) for name, share in re.findall(r"^  (\w[\w ]+?) +(\d+)%$", output, re.MULTILINE)}
    assert found.keys() == {"dot product", "cosine", "best sellers"}
    assert found["dot product"] >= 1.3 * found["cosine"]
    assert found["dot product"] >= 1.5 * found["best sellers"]
    best, last = map(float, re.findall(r"(\d+\.\d+) \(", output))
    assert best > 5 * last


def test_no_customer_is_offered_an_owned_product(output: str) -> None:
    owned = products("A user who has", output)
    wanted = products("  may want", output)
    tents = products("  of the tents", output)
    assert len(set(owned)) == 15
    assert len(set(wanted)) == len(set(tents)) == 5
    assert not {*owned} & {*wanted, *tents}
    assert all(name.endswith("-tent") for name in tents)


def test_more_like_these(output: str) -> None:
    found = re.search(r"^More like cader-axe and jura-rope\n  (.*)$", output, re.MULTILINE)
    assert found
    names = found[1].split(", ")
    assert len(set(names)) == 5
    assert not {"cader-axe", "jura-rope"} & {*names}


@pytest.mark.thorough
def test_a_product_that_is_not_there() -> None:
    done = recommend("--like", "cader-axe", "cader-car")
    assert done.returncode == 1
    assert "'cader-car'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help() -> None:
    done = recommend("--help")
    assert done.returncode == 0, done.stderr
    assert "--like" in done.stdout
