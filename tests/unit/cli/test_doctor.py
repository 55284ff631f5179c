"""The command `doctor`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.shell import Shell

import theodolite

TOO_SMALL = 2_000  # bytes a file may have: a temporary file can be made, a collection cannot


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_working_installation(shell: Shell) -> None:
    out, err = shell.run("doctor")
    assert err == ""
    assert out.splitlines()[0].split() == ["theodolite", theodolite.__version__]
    assert out.endswith("theodolite works here.\n")


def test_json_holds_all_that_is_shown(shell: Shell) -> None:
    found = shell.json("doctor")
    assert found["ok"] is True
    assert found["self_test"] == {"ok": True, "failed": None, "error": None, "seconds": found["self_test"]["seconds"]}
    assert {"theodolite", "numpy", "numkong", "sqlite", "python", "platform"} == set(found["versions"])
    assert found["extras"]["cli"]["missing"] == []  # this is it
    assert not {"all", "dev"} & set(found["extras"])
    for name, extra in found["extras"].items():
        assert extra["installed"] is not bool(extra["missing"])
        assert extra["install"] == f"pip install 'theodolite[{name}]'"
    assert all(isinstance(name, str) for name in found["simd"])


def test_an_extra_with_a_missing_package(shell: Shell) -> None:
    """An installation whose metadata requires a package that does not exist."""
    about = shell.plugin / "theodolite-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: theodolite\nVersion: 9.9\n"
        "Provides-Extra: cli\nProvides-Extra: rare\nProvides-Extra: dev\n"
        "Requires-Dist: numpy>=2\n"
        "Requires-Dist: typer>=0.16; extra == 'cli'\n"
        'Requires-Dist: no-such.package[fast]<2,>=1; (python_version > "3") and extra == "rare"\n'
        "Requires-Dist: typer; extra == 'rare'\n"
        "Provides-Extra: both\nRequires-Dist: theodolite[cli,rare]; extra == 'both'\n"
    )
    assert shell.json("doctor")["extras"] == {
        "cli": {"installed": True, "missing": [], "install": "pip install 'theodolite[cli]'"},
        "rare": {"installed": False, "missing": ["no-such.package"], "install": "pip install 'theodolite[rare]'"},
        "both": {"installed": False, "missing": ["no-such.package"], "install": "pip install 'theodolite[both]'"},
    }
    lines = shell.run("doctor")[0].splitlines()
    assert "  rare  missing    pip install 'theodolite[rare]'" in lines


def test_caches_are_measured(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = shell.folder / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    models = shell.json("doctor")["caches"][0]
    assert (models["path"], models["exists"], models["bytes"]) == (str(hub), False, 0)
    (hub / "blobs").mkdir(parents=True)
    (hub / "blobs" / "weights").write_bytes(bytes(3_000_000))
    (hub / "snapshot").symlink_to(hub / "blobs" / "weights")  # as the hub's client stores a file
    models = shell.json("doctor")["caches"][0]
    assert (models["exists"], models["bytes"]) == (True, 3_000_000)
    assert f"{hub}  3.0 MB" in shell.run("doctor")[0]


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of a file are of POSIX")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_does_not_work_is_said(shell: Shell, option: list[str]) -> None:
    """A disk that accepts only a few bytes per file."""
    code = (
        "import resource, sys; from theodolite.cli.run import run; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({TOO_SMALL}, {TOO_SMALL})); sys.exit(run(['doctor', *{option!r}]))"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=shell.folder, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    if option:
        assert '"ok": false' in done.stdout
    else:
        assert done.stdout.endswith("theodolite does not work here.\n")
    assert "failed" in done.stdout
