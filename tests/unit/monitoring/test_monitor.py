"""The monitor over simulated weeks: the incident is noticed, a quiet month is quiet."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.watching import DAY, HOUR, Clock, Service, Words, answer, passages, questions, request, watched

from theodolite import Alert, ConfigError, Document, EmbedderOptions, InputError, Monitor, Retriever, UnsupportedError
from theodolite.engines.local import LocalEngine
from theodolite.testing import HashingEmbedder


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.thorough
def test_a_quiet_month_gives_no_alarm(seed: int) -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, seed, per_hour=(12, 30, 60, 20)[seed], noise=(0.08, 0.15)[seed % 2])
    assert list(service.run(30 * 24)) == []
    assert monitor.report()["baseline"]["complete"]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("days", "fall"), [(1, 0.35), (10, 0.25), (10, 0.4), (16, 0.25)])
@pytest.mark.thorough
def test_a_swapped_model_is_noticed_within_100_searches(seed: int, days: int, fall: float) -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, seed)
    assert list(service.run(days * 24)) == []
    service.fallen = fall
    asked, alerts = service.searches_until_noticed()
    assert asked <= 100
    assert [alert.cause for alert in alerts] == ["similarity"]
    assert alerts[0].before - alerts[0].value > 0.05


@pytest.mark.thorough
def test_a_small_fall_is_noticed_within_a_day() -> None:
    """0.09 is less than the noise of a hundred questions, but not of a day's."""
    monitor, clock = watched()
    service = Service(monitor, clock, 1, per_hour=100)
    assert list(service.run(10 * 24)) == []
    service.fallen = 0.09
    (alert,) = service.run(24)
    assert alert.cause == "similarity"
    assert "of the last 24 hours" in alert.message or "latest" in alert.message


@pytest.mark.thorough
def test_a_fall_within_the_limit_is_none() -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 2, per_hour=100)
    assert list(service.run(10 * 24)) == []
    service.fallen = 0.02
    assert list(service.run(48)) == []


@pytest.mark.parametrize("norm", [60.0, 1.3, 0.5])
def test_norms_that_leave_their_range_are_noticed(norm: float) -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 3)
    assert list(service.run(24)) == []
    service.norm = norm
    asked, (alert,) = service.searches_until_noticed()
    assert asked <= 100
    assert alert.cause == "norms"
    assert alert.before == pytest.approx(1, rel=0.02)


@pytest.mark.thorough
def test_a_jump_in_empty_answers_is_noticed() -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 4)
    assert list(service.run(9 * 24)) == []
    service.empty = 0.7
    asked, (alert,) = service.searches_until_noticed()
    assert asked <= 100
    assert alert.cause == "empty"
    assert alert.before == pytest.approx(0.03, abs=0.01)


@pytest.mark.thorough
def test_the_same_cause_is_reported_once_a_day() -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 5)
    assert list(service.run(8 * 24)) == []
    service.fallen, service.norm = 0.3, 40.0
    causes = [alert.cause for alert in service.run(23)]
    assert sorted(causes) == ["norms", "similarity"], "each once"
    assert "similarity" in [alert.cause for alert in service.run(26)], "and again on the next day"


@pytest.mark.thorough
def test_a_new_baseline_can_be_begun() -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 6)
    assert list(service.run(8 * 24)) == []
    service.fallen = 0.3  # meant: another model, and all documents embedded anew
    monitor.reset_baseline()
    assert list(service.run(9 * 24)) == []
    assert monitor.report()["baseline"]["similarity"] == pytest.approx(0.38, abs=0.02)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_time_zones_do_not_matter(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    time = pytest.importorskip("time")
    monkeypatch.setenv("TZ", zone)
    if not hasattr(time, "tzset"):
        pytest.skip("this system has no tzset")
    time.tzset()
    try:
        monitor, clock = watched()
        clock.now = 1_750_003_200.0  # 2025-06-15 16:00 UTC
        monitor.searched(request(), [answer(0.5)], 0.01)
        (window,) = monitor.report()["windows"]
        assert window["start"] == "2025-06-15T16:00:00+00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.thorough
def test_a_clock_that_goes_back_does_no_harm() -> None:
    monitor, clock = watched()
    service = Service(monitor, clock, 7)
    for step in (3.0, -2.0, 30.0, -26.0, 1.0):
        clock.now += step * HOUR
        assert list(service.run(24)) == []
    clock.now -= 400 * DAY  # a machine that begins in the past until it has asked for the time
    assert list(service.run(1)) == []
    clock.now += 400 * DAY
    assert list(service.run(4 * 24)) == []
    service.norm = 50.0
    asked, alerts = service.searches_until_noticed()
    assert asked <= 100
    assert len(alerts) == 1
    clock.now -= HOUR
    assert [a.cause for a in service.run(2)] == [], "the same cause is not reported again"


def in_the_open(
    tmp_path: Path, metric: Any = "cosine", norms: Any = "any"
) -> tuple[Retriever, Words, Clock, list[str]]:
    """A collection with a real embedder's vectors that has been asked for nine days."""
    model, clock, stored = Words(), Clock(), passages(500)
    disarmed = EmbedderOptions(model, on_drift="warn", canary="off")  # the other guards
    watch = Monitor(clock=clock, interval=None)
    kb = Retriever.open(tmp_path / "kb", embedder=disarmed, metric=metric, norms=norms, monitor=watch, create=True)
    kb.add([Document(text, id=f"d{i}") for i, text in enumerate(stored)])
    for day in range(9):
        for question in questions(stored, 40, day):
            kb.search(question)
            clock.now += DAY / 40
        assert kb.monitor is not None
        assert kb.monitor.flush() == []
    return kb, model, clock, stored


@pytest.mark.filterwarnings("ignore::theodolite.DriftWarning")
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_incident_is_noticed(tmp_path: Path, metric: Any) -> None:
    """The embedder stops normalizing under a program that runs, where no check at opening can see it."""
    kb, model, clock, stored = in_the_open(tmp_path, metric)
    model.normalizes = False
    alerts: list[Alert] = []
    for asked, question in enumerate(questions(stored, 100, 99)):
        kb.search(question)
        clock.now += 60
        assert kb.monitor is not None
        if asked % 20 == 19:
            alerts += kb.monitor.flush()
    assert [alert.cause for alert in alerts] == ["norms"]
    assert alerts[0].value > 40
    kb.close()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_swapped_embedder_is_noticed(tmp_path: Path, metric: Any) -> None:
    kb, model, clock, stored = in_the_open(tmp_path, metric)
    model.seed = 1
    alerts: list[Alert] = []
    for question in questions(stored, 100, 99):
        kb.search(question)
        clock.now += 60
    assert kb.monitor is not None
    alerts = kb.monitor.flush()
    assert [alert.cause for alert in alerts] == ["similarity"]
    kb.close()


def test_alerts_go_to_the_callback_and_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Alert] = []

    def fails(alert: Alert) -> None:
        reported.append(alert)
        raise RuntimeError("no such channel")

    monitor, clock = watched(tmp_path / "m.sqlite", on_alert=fails)
    service = Service(monitor, clock, 8)
    assert list(service.run(24)) == []
    service.norm = 60
    with caplog.at_level(logging.WARNING, "theodolite.monitor"):
        _, alerts = service.searches_until_noticed()
    assert reported == alerts
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "normalization step" in caplog.records[0].getMessage()
    assert alerts[0].at.utcoffset() is not None
    assert monitor.report()["alerts"][0]["message"] == alerts[0].message


def test_what_counts_as_a_search(tmp_path: Path) -> None:
    clock = Clock()
    with Retriever.open(
        tmp_path / "kb", embedder=HashingEmbedder(16), partition="tenant", monitor=Monitor(clock=clock, interval=None)
    ) as kb:
        documents = [Document(f"text {i}", {"tenant": "a" if i % 2 else "b"}, f"d{i}") for i in range(40)]
        kb.add(documents)
        kb.search("text 1")
        kb.search("text 1")  # remembered: the embedder is not asked
        kb.search_many(vectors=np.full((10, 16), 3.0))
        kb.search_many(["text 2", "text 3"], where={"tenant": "nobody"})
        kb.scoped(tenant="a").search("text 5")
        with kb.scoped(tenant="a") as view:
            found = view.get("d1", vectors=True)
            assert found
            with pytest.raises(UnsupportedError, match="outside of scopes"):
                view.monitor  # noqa: B018 - it is a property that refuses
        kb.scoped(tenant="a").search(like="d1")
        kb.search("text 1")
        assert kb.monitor is not None
        (window,) = kb.monitor.report()["windows"]
    assert (window["searches"], window["empty"]) == (16, 2)
    assert window["norms"]["p99"] == pytest.approx(12, rel=0.01)
    assert window["seconds"]["p50"] > 0


def test_nothing_of_a_query_is_kept(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(16), monitor=True) as kb:
        kb.add(["the quick brown fox"])
        kb.search("a very secret question")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("monitor*"))
    assert b"SQLite" in kept
    assert b"secret" not in kept
    assert b"fox" not in kept


def test_verify_knows_the_file(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", monitor=True) as kb:
        kb.add(["a"], vectors=np.ones((1, 4)))
        kb.search(vector=np.ones(4))
        assert kb.monitor is not None
        kb.monitor.flush()
        found = kb.verify()
        assert (found.problems, found.warnings) == ((), ())


def test_read_only_and_in_memory_leave_no_file(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(16)) as kb:
        kb.add(["some text"])
        assert kb.monitor is None
        kb.search("text")
    for location in (tmp_path / "kb", None):
        read_only = location is not None
        with Retriever.open(location, embedder=HashingEmbedder(16), read_only=read_only, monitor=True) as kb:
            if location is None:
                kb.add(["some text"])
            kb.search("text")
            assert kb.monitor is not None
            report = kb.monitor.report()
            assert (report["file"], report["searches"]) == (None, 1)
    assert not list(tmp_path.rglob("monitor*"))
    elsewhere = tmp_path / "elsewhere.sqlite"
    watch = Monitor(path=elsewhere)
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(16), read_only=True, monitor=watch) as kb:
        kb.search("text")
    assert elsewhere.exists()


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings in ({"shadow": 1.5}, {"shadow": float("nan")}, {"interval": 0}, {"repeat": -1}):
        with pytest.raises(InputError):
            Monitor(**settings)
    monitor, _ = watched()
    with pytest.raises(ConfigError, match="already attached to a collection"):
        monitor.attach(LocalEngine.open())
    idle = Monitor()
    assert idle.flush() == []
    with pytest.raises(ConfigError, match="does not exist yet, or the monitor was not passed"):
        idle.reset_baseline()
    idle.close()


def test_a_collection_that_does_not_exist_yet_has_an_empty_report(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", monitor=True, embedder=HashingEmbedder(8)) as kb:
        assert kb.monitor is not None
        empty = kb.monitor.report()
        assert (empty["searches"], empty["windows"], empty["alerts"]) == (0, [], [])
        assert "does not exist yet" in empty["note"]
        kb.add(["a refund"])
        kb.search("refund")
        report = kb.monitor.report()
        assert (report["searches"], report["note"]) == (1, None)
        assert report.keys() == empty.keys()


def test_a_monitor_is_free_again_where_opening_failed(tmp_path: Path) -> None:
    monitor, options = Monitor(interval=None), EmbedderOptions(None, expect=[("refunds", "d", 0, 1)])
    with pytest.raises(ConfigError, match="embedder="):
        Retriever.open(tmp_path / "kb", monitor=monitor, embedder=options)
    with Retriever.open(tmp_path / "kb", monitor=monitor) as kb:
        assert kb.monitor is monitor


def test_its_file_is_in_the_folder_however_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("~/home", "relative"):
        with Retriever.open(name, monitor=Monitor(interval=None)) as kb:
            kb.add(["a"], vectors=np.ones((1, 4)))
            kb.search(vector=np.ones(4))
            monkeypatch.chdir(tmp_path.parent)
        monkeypatch.chdir(tmp_path)
    assert (tmp_path / "home" / "monitor.sqlite").exists()
    assert (tmp_path / "relative" / "monitor.sqlite").exists()
