"""The explorer's own answers over HTTP: maps and health that are measured in the background."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import DOCUMENTS, READER, Server, handbook, serving

from theodolite import Document
from theodolite.serving.access import Access, Grant
from theodolite.serving.explorer.jobs import Job, Jobs
from theodolite.serving.explorer.routes import explorer
from theodolite.serving.limits import Limits


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    access = Access({READER: Grant()})
    with serving(handbook(tmp_path), access=access, extend=lambda served: explorer(served, Limits())) as running:
        yield running


def asked(server: Server, what: str, **body: Any) -> tuple[int, Any]:
    """Ask until the answer is there."""
    path = f"/api/explorer/handbook/{what}"
    status, answer = server.call("POST", path, body)
    while "progress" in answer:
        assert set(answer["progress"]) == {"step", "done", "of"}
        status, answer = server.call("POST", path, {**body, "job": answer["job"]})
    return status, answer


def test_a_map_has_all_documents_in_groups(server: Server) -> None:
    status, told = asked(server, "map")
    assert status == 200
    assert sorted(told["ids"]) == sorted(document.id for document in DOCUMENTS)
    assert len(told["x"]) == len(told["y"]) == len(told["group"]) == told["total"] == len(DOCUMENTS)
    assert all(0 <= place <= told["side"] for place in [*told["x"], *told["y"]])
    assert set(told["fields"]) == {"number", "team"}
    status, told = asked(server, "map", color="team")
    names = [told["groups"][number]["name"] for number in told["group"]]
    expected = {document.id: document.metadata["team"] for document in DOCUMENTS}
    assert dict(zip(told["ids"], names, strict=True)) == expected
    assert [group["count"] for group in told["groups"]] == [10, 10]


def test_a_map_follows_changes(server: Server) -> None:
    (served,) = server.collections
    asked(server, "map")
    served.kb.delete(["d/3"])
    served.kb.add([Document("new", {"team": "acme"}, "new")])
    _, told = asked(server, "map")
    assert set(told["ids"]) == {document.id for document in DOCUMENTS} - {"d/3"} | {"new"}


def test_wrong_requests_are_refused(server: Server) -> None:
    status, answer = asked(server, "map", color="teem")
    assert (status, answer["error"]["param"]) == (400, "color")
    assert "Did you mean 'team'" in answer["error"]["message"]
    for what in ("map", "health"):
        assert asked(server, what, job="one")[0] == 400
        assert asked(server, what, job=True)[0] == 400
        assert asked(server, what, colour="team")[0] == 400


def test_health_has_the_sections_of_the_report(server: Server) -> None:
    (served,) = server.collections
    _, told = asked(server, "health")
    assert [section["title"] for section in told["sections"]][:2] == ["Summary", "What the checks say"]
    served.kb.delete(["d/3"])
    _, again = asked(server, "health")
    assert "19" in str(again["sections"][0])


def test_a_job_runs_once_and_is_kept_for_its_state() -> None:
    runs = []

    async def main() -> None:
        jobs, gate = Jobs(), threading.Event()

        def work(progress: Any) -> int:
            progress("Reading", 1, 2)
            gate.wait(10)
            runs.append(1)
            return len(runs)

        first = jobs.get("map", 1, work, None)
        told = await first.answer()
        assert told == {"job": first.number, "progress": {"step": "Reading", "done": 1, "of": 2}}
        assert jobs.get("map", 2, work, None) is first, "it runs, and another one would read everything, too"
        gate.set()
        assert await first.answer() is None
        assert first.result() == 1
        assert jobs.get("map", 1, work, None) is first
        assert jobs.get("map", 2, work, first.number) is first, "who waits for a job gets its result"
        assert jobs.get("health", 1, work, None) is not first
        second = jobs.get("map", 2, work, None)
        assert second is not first
        await finished(second)

    asyncio.run(main())


def test_an_error_is_told_and_the_next_request_tries_again() -> None:
    async def main() -> None:
        jobs = Jobs()

        def fails(progress: Any) -> None:
            raise ValueError("no")

        first = jobs.get("map", 1, fails, None)
        await finished(first)
        with pytest.raises(ValueError, match="no"):
            first.result()
        second = jobs.get("map", 1, lambda progress: 7, None)
        await finished(second)
        assert second.result() == 7

    asyncio.run(main())


async def finished(job: Job) -> None:
    while await job.answer() is not None:
        pass
