"""A child forked after the parent has used its model can embed, too: with torch's threads, and under load."""

import os
import subprocess
import sys

import pytest
from tests.unit.models import needs_minilm

CODE = """
import os, signal, sys, threading, time
import torch
from theodolite import Document, Retriever

torch.set_num_threads(2)
kb = Retriever.open(embedder="all-MiniLM-L6-v2")
kb.add([Document("Refunds take five days. " * 20, id=f"r{i}") for i in range(16)])

def child(question):
    number = os.fork()
    if not number:
        signal.alarm(90)  # a child that hangs is killed
        assert kb.search(question * 20)[0].document.id
        kb.add([question * 20] * 4)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

assert child("idle") == 0
stop = threading.Event()
def busy():
    while not stop.is_set():
        kb.search_many([f"{time.time()} {i}" for i in range(16)])
thread = threading.Thread(target=busy)
thread.start()
time.sleep(0.3)
assert [child("busy"), child("busier")] == [0, 0]
stop.set()
thread.join()
assert torch.get_num_threads() == 2
"""


@needs_minilm
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.thorough
def test_children_embed() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
