"""Forked while another thread adds: every child answers, or raises at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
from theodolite import Document, EngineError, Retriever

kb = Retriever.open(sys.argv[1], lock_timeout=30)
kb.add([Document("t", id=f"d{i}") for i in range(2000)], vectors=np.eye(2000, 16) + 1, batch_size=None)

def child(work):
    number = os.fork()
    if not number:
        signal.alarm(60)  # a child that hangs is killed
        try:
            work()
            os._exit(0)
        except EngineError as error:
            os._exit(3 if "fork" in str(error) else 4)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
"""

BUSY = """
stop = threading.Event()
def write():
    n = 0
    while not stop.is_set():
        kb.add([Document("w", id=f"w{n % 50}")], vectors=np.ones((1, 16)))
        kb.search(vector=np.ones(16))
        n += 1
threads = [threading.Thread(target=write) for _ in range(2)]
for thread in threads: thread.start()
time.sleep(0.2)
def work():
    kb.search(vector=np.ones(16), where={"x": 1})
    kb.add([Document("c", id=f"c{os.getpid()}")], vectors=np.ones((1, 16)))
ended = [child(work) for _ in range(15)]
stop.set()
for thread in threads: thread.join()
assert set(ended) <= {0, 3} and ended.count(0) >= 10, ended
assert len([d for d in kb.documents() if d.id.startswith("c")]) == ended.count(0)
kb.verify()
kb.close()
"""

INSIDE = """
from theodolite import forking
forking.PATIENCE = 0.2
inside, leave = threading.Event(), threading.Event()
class Slow:  # a boost that is computed while the collection is read
    name, field = "slow", "x"
    def factors(self, values, now):
        inside.set()
        leave.wait(60)
        return np.ones(len(values))
thread = threading.Thread(target=lambda: kb.search(vector=np.ones(16), boosts=[Slow()]))
thread.start()
inside.wait(60)
started = time.monotonic()
def elsewhere():
    Retriever.open(sys.argv[1])
assert [child(lambda: kb.search(vector=np.ones(16))), child(lambda: kb.add(["x"], vectors=np.ones((1, 16))))] == [3, 3]
assert [child(elsewhere), child(kb.close)] == [3, 0]
leave.set()
thread.join()
assert child(lambda: kb.search(vector=np.ones(16))) == 0
kb.verify()
"""

OWN = """
from theodolite import forking
ended = []
class Forking:  # the fork happens within a search of the very thread
    name, field = "forking", "x"
    def factors(self, values, now):
        if not ended:
            ended.append(None)
            ended.append(child(lambda: kb.search(vector=np.ones(16))))
        return np.ones(len(values))
assert kb.search(vector=np.ones(16), boosts=[Forking()])
assert ended[1] == 3, ended
assert kb.search(vector=np.ones(16))
"""


@pytest.mark.parametrize("code", [BUSY, INSIDE, OWN], ids=["busy", "inside", "own"])
@pytest.mark.thorough
def test_children_answer_or_raise_at_once(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + code, str(tmp_path / "kb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
