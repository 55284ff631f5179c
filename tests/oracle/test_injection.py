"""Hostile names, ids, values, filters and tenants on the local engine: 10,000 cases agree with the reference."""

from pathlib import Path

import pytest
from tests.oracle.injection import TENANT, HostileDraw, Injection
from tests.sampling import sampled

from theodolite.engines.local import LocalEngine
from theodolite.settings import CollectionSettings

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.mark.parametrize("seed", range(8))
def test_hostile_calls_agree_with_the_reference(tmp_path: Path, seed: int) -> None:
    (tmp_path / "beside").write_text("innocent")
    engine = LocalEngine.open(tmp_path / "kb", CollectionSettings(partition=TENANT))
    injection = Injection(engine, HostileDraw(seed))
    injection.run(sampled(1200))
    engine.close()
    again = LocalEngine.open(tmp_path / "kb")
    injection.engine = again
    injection.check_contents()
    again.verify()
    again.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside", "kb"]
    assert (tmp_path / "beside").read_text() == "innocent"
