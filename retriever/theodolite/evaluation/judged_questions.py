"""JudgedQuestions: questions with their judgments, as `evaluate` takes them, and their files."""

import json
from typing import NamedTuple

from theodolite.evaluation.judgments import check_storable, write_judgments
from theodolite.evaluation.questions import is_synthetic
from theodolite.evaluation.text_files import PathOf, write_text


class JudgedQuestions(NamedTuple):
    """Questions and their judgments: `kb.evaluate(*judged)` evaluates them.

    Attributes:
        questions: the texts by id.
        judgments: the grades by question and document.
    """

    questions: dict[str, str]
    judgments: dict[str, dict[str, int]]

    def write(self, questions: PathOf, judgments: PathOf) -> None:
        """Write both as files that `evaluate` reads: JSON Lines, and judgments in the format of BEIR.

        Raises:
            InputError: an id contains a tab or a line break. Nothing is written.
            EngineError: a file cannot be written.
        """
        for question, documents in self.judgments.items():
            check_storable([question, *documents])
        lines = []
        for name, text in self.questions.items():
            record = {"id": name, "text": text, **({"synthetic": True} if is_synthetic(name) else {})}
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        write_text(questions, lines)
        write_judgments(judgments, self.judgments)
