"""Files are damaged in many ways: the damage is reported, and causes no crash and no silent wrong answer."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HOSTILE = Path(__file__).with_name("hostile.py")


def outcomes(folder: Path, seeds: range) -> Counter[str]:
    """Return the outcome of each case. Fails if the process ends, or something is silently wrong."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(HOSTILE), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found: Counter[str] = Counter()
    failures = []
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for seed in seeds:
            process.stdin.write(f"{seed}\n")
            process.stdin.flush()
            line = process.stdout.readline().rstrip("\n")
            if not line:
                failures.append(f"case {seed}: the process has ended")
                break
            if line.startswith("FAILED"):
                failures.append(f"case {seed}: {line}")
            else:
                found[line] += 1
        process.stdin.close()
    assert not failures, "\n\n".join(failures[:5]).replace("\\n", "\n") + f"\n{len(failures)} failures"
    return found


@pytest.mark.thorough
def test_hostile_files(tmp_path: Path) -> None:
    found = outcomes(tmp_path / "cases", range(150))
    assert {name.split(" ", 2)[2] for name in found} >= {"refused", "wrong, verified", "right, repairable"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(8))
def test_many_hostile_files(tmp_path: Path, part: int) -> None:
    found = outcomes(tmp_path / "cases", range(1000 + 1000 * part, 2000 + 1000 * part))
    print(*sorted(found.items()), sep="\n")
