"""A server beside the library in the same process, and beside Chroma's server: latency and throughput.

    python benchmarks/serve.py --chroma /path/to/venv/bin/chroma --chroma-python /path/to/venv/bin/python

The same vectors are searched through `kb.search` in this process, through the server with `http.client` and with our
own client, and through `chroma run` with its client; by one client and by eight. All run in turn, in several rounds,
and the medians and the best of the rounds are shown: other work on the machine then slows all of them. `theodolite
search` is timed as a process, with the server's answer. `--load` runs 32 clients beside a writer for a minute, and
checks errors, the 99th percentile and memory.
"""

import argparse
import http.client
import inspect
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from theodolite import Document, Retriever

CLIENTS = 8
K = 10

Way = Callable[[int, float], dict[str, float]]
"""Measures some clients for some seconds."""

# Runs in the environment that has chromadb, so that this one does not need it.
CHROMA = """
    from __future__ import annotations
    import json, sys, threading, time, statistics
    import chromadb, numpy as np
    port, folder = int(sys.argv[1]), sys.argv[2]
    rows, queries = np.load(folder + "/rows.npy"), np.load(folder + "/queries.npy")
    made = chromadb.HttpClient(host="127.0.0.1", port=port)
    kb = made.create_collection("served", metadata={"hnsw:space": "cosine"})
    for start in range(0, len(rows), 2000):
        part = rows[start:start + 2000]
        names = [f"d{n}" for n in range(start, start + len(part))]
        kb.add(ids=names, embeddings=part, documents=[f"The text of {name}. " * 20 for name in names])
    def client():
        mine = chromadb.HttpClient(host="127.0.0.1", port=port).get_collection("served")
        return lambda number: mine.query(query_embeddings=[queries[number % len(queries)]], n_results=10)
"""


ASKED = """
    for line in sys.stdin:
        clients, seconds = line.split()
        print(json.dumps(measured(client, int(clients), float(seconds))), flush=True)
"""


@contextmanager
def server_of(arguments: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it listens, and stop it at the end of the block."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{arguments[0]} does not listen")
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def listens(port: int) -> bool:
    """Return whether a server listens on a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def measured(make: Callable[[], Callable[[int], Any]], clients: int, seconds: float) -> dict[str, float]:
    """Return latencies in milliseconds, and queries a second, of some clients in a closed loop."""
    times: list[list[float]] = [[] for _ in range(clients)]
    start = threading.Barrier(clients + 1)

    def loop(mine: list[float], offset: int) -> None:
        ask = make()
        for number in range(20):
            ask(number)
        start.wait()
        end, number = time.perf_counter() + seconds, offset
        while (begun := time.perf_counter()) < end:
            ask(number)
            mine.append(time.perf_counter() - begun)
            number += 1

    threads = [threading.Thread(target=loop, args=(mine, 7 * place)) for place, mine in enumerate(times)]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    every = sorted(value for mine in times for value in mine)
    return {
        "p50": round(1e3 * statistics.median(every), 3),
        "p99": round(1e3 * every[int(0.99 * len(every))], 3),
        "per second": round(len(every) / taken, 1),
    }


def by_library(kb: Retriever, queries: Any) -> Callable[[], Callable[[int], Any]]:
    """Return a maker of clients that call `kb.search`."""
    return lambda: lambda number: kb.search(vector=queries[number % len(queries)], k=K)


def by_http(port: int, bodies: list[bytes]) -> Callable[[], Callable[[int], Any]]:
    """Return a maker of clients that search with `http.client`."""

    def make() -> Callable[[int], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": "application/json"}

        def ask(number: int) -> Any:
            connection.request("POST", "/api/v1/collections/kb/search", bodies[number % len(bodies)], headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert answer.status == 200, found
            return found

        return ask

    return make


def by_command(folder: Path) -> dict[str, float]:
    """Return the milliseconds of `theodolite search` through the running server, from start to end."""
    command = [sys.executable, "-m", "theodolite", "search", str(folder), "text of d7", "--mode", "lexical"]
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(1e3 * (time.perf_counter() - begun))
    return {"p50": round(statistics.median(times), 1), "most": round(max(times), 1)}


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load(port: int, pid: int, token: str, bodies: list[bytes], seconds: float, alone: float) -> dict[str, Any]:
    """Run 32 clients beside a writer, and return what a server must hold."""
    errors: list[str] = []
    times: list[float] = []
    memory: list[tuple[float, float]] = []
    end = time.monotonic() + seconds
    make = by_http(port, bodies)

    def search() -> None:
        ask, number = make(), 0
        while time.monotonic() < end:
            begun = time.perf_counter()
            try:
                ask(number)
            except Exception as error:  # each is a failure of the server
                errors.append(repr(error))
            times.append(time.perf_counter() - begun)
            number += 1

    def write() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        vector, number = json.loads(bodies[0])["vector"], 0
        while time.monotonic() < end:
            document = {"id": f"written-{number % 50}", "text": f"written {number}"}
            body = json.dumps({"documents": [document], "vectors": [vector]})
            connection.request("POST", "/api/v1/collections/kb/add", body, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                errors.append(answer.read().decode())
            answer.read()
            number += 1
            time.sleep(0.05)

    threads = [threading.Thread(target=search) for _ in range(32)] + [threading.Thread(target=write)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        memory.append((time.monotonic() - begun, resident(pid)))
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    first = [size for at, size in memory if at < 20]
    last = [size for at, size in memory if at > seconds - 20]
    p99 = 1e3 * sorted(times)[int(0.99 * len(times))]
    return {
        "requests": len(times),
        "errors": len(errors),
        "first error": errors[:1],
        "p99": round(p99, 1),
        "p99 allowed": round(3 * 32 * alone, 1),
        "memory, first 20 s": round(statistics.mean(first), 1),
        "memory, last 20 s": round(statistics.mean(last), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chroma", help="the program chroma")
    parser.add_argument("--chroma-python", help="a python that has chromadb")
    parser.add_argument("--load", action="store_true", help="32 clients beside a writer for a minute")
    chosen = parser.parse_args()
    draw = np.random.default_rng(1)
    centers = draw.standard_normal((200, chosen.dimension))
    rows: Any = np.float32(centers[draw.integers(200, size=chosen.rows)] + draw.standard_normal((chosen.rows, 1)))
    rows += np.float32(0.6 * draw.standard_normal(rows.shape))
    queries: Any = np.float32(
        rows[draw.integers(chosen.rows, size=200)] + 0.5 * draw.standard_normal((200, chosen.dimension))
    )
    bodies = [json.dumps({"vector": query.tolist(), "k": K}).encode() for query in queries]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "rows.npy", rows)
        np.save(folder / "queries.npy", queries)
        names = [f"d{number}" for number in range(chosen.rows)]
        with Retriever.open(folder / "kb", embedder=None) as kb:
            kb.add([Document(f"The text of {name}. " * 20, {}, name) for name in names], vectors=rows)
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        command = [sys.executable, "-m", "theodolite", "serve", str(folder / "kb"), "--port", "18417", "--write"]
        with ExitStack() as stack:
            process = stack.enter_context(server_of(command, 18417))
            local = stack.enter_context(Retriever.open(folder / "kb", embedder=None, read_only=True))
            remote = stack.enter_context(Retriever.open("http://127.0.0.1:18417/kb", embedder=None))
            ways: dict[str, Way] = {
                "in process": partial(measured, by_library(local, queries)),
                "http.client": partial(measured, by_http(18417, bodies)),
                "our client": partial(measured, by_library(remote, queries)),
            }
            if chosen.chroma:
                ways["chroma"] = stack.enter_context(chroma(chosen, folder))
            report = in_rounds(ways, chosen.rounds, chosen.seconds)
            report["theodolite search"] = by_command(folder / "kb")
            if chosen.load:
                token = (runtime / "theodolite" / "write-token-18417").read_text()
                alone = report["http.client, 1"]["p50"]
                report["32 clients and a writer"] = load(18417, process.pid, token, bodies, 60.0, alone)
    for name, figures in report.items():
        print(f"{name:<26}", ", ".join(f"{key} {value}" for key, value in figures.items()))


def in_rounds(ways: dict[str, Way], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the medians of several rounds, and how much the p50 of one client is above that in the process."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            for clients in (1, CLIENTS):
                found.setdefault(f"{name}, {clients}", []).append(way(clients, seconds))
    report: dict[str, dict[str, Any]] = {
        name: {key: round(statistics.median(each[key] for each in every), 3) for key in every[0]}
        for name, every in found.items()
    }
    for name, every in found.items():
        report[name]["lowest p50"] = min(each["p50"] for each in every)
        report[name]["most per second"] = max(each["per second"] for each in every)
    for name in ways:
        above = [one["p50"] - own["p50"] for one, own in zip(found[f"{name}, 1"], found["in process, 1"], strict=True)]
        report[f"{name}, 1"]["p50 above"] = round(statistics.median(above), 3)
    return report


@contextmanager
def chroma(chosen: argparse.Namespace, folder: Path) -> Iterator[Way]:
    """Start Chroma's server, and a process with its own client."""
    code = "\n".join([textwrap.dedent(CHROMA), inspect.getsource(measured), textwrap.dedent(ASKED)])
    arguments = [chosen.chroma_python, "-c", code, "18418", str(folder)]
    with (
        server_of([chosen.chroma, "run", "--path", str(folder / "chroma"), "--port", "18418"], 18418),
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client,
    ):

        def ask(clients: int, seconds: float) -> dict[str, float]:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(f"{clients} {seconds}\n")
            client.stdin.flush()
            found: dict[str, float] = json.loads(client.stdout.readline())
            return found

        yield ask


if __name__ == "__main__":
    main()
