"""A second project's `docs/` never removes the passages of the first."""

from pathlib import Path

import pytest

from theodolite import ConfigError, Retriever
from theodolite.files.sync import sync
from theodolite.testing import HashingEmbedder


def test_a_second_docs_folder_is_refused_or_gets_a_name(tmp_path: Path) -> None:
    for name, files in {"a": ["README.md", "db.md", "deploy.md"], "b": ["README.md", "cache.md"]}.items():
        (tmp_path / name / "docs").mkdir(parents=True)
        for file in files:
            (tmp_path / name / "docs" / file).write_text(f"{file} of project {name} says something useful")
    first, second = tmp_path / "a" / "docs", tmp_path / "b" / "docs"
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        sync(kb, [first])
        for _ in range(2):
            with pytest.raises(ConfigError, match="is not the folder") as refused:
                sync(kb, [second])
            assert str(first) in str(refused.value)
            assert str(second) in str(refused.value)
            assert "3 files" in str(refused.value)
            assert len(kb) == 3
        sync(kb, [second], source="b-docs")
        assert len(kb) == 5
        assert sync(kb, [second]).unchanged == 2  # its name is remembered
        assert sync(kb, [first]).unchanged == 3
        assert kb.get("docs/README.md")[0].text.startswith("README.md of project a")
        assert kb.get("b-docs/README.md")[0].text.startswith("README.md of project b")
