"""JudgingSession: judge the passages found for questions, one after the other; saved as it goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Grades = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document or file to judge.

    Attributes:
        id: what the judgment names.
        text: the passage to show.
        place: where the passage is from, in words.
    """

    id: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """The next decision: a candidate for a question, with the positions of both, from 1."""

    question: str
    text: str
    number: int
    questions: int
    candidate: Candidate
    place: int
    candidates: int


class JudgingSession:
    """Goes through the candidates of all questions that have no grade yet.

    Attributes:
        grades: all grades, also those from before.
        judged: how many grades this session has given.
    """

    def __init__(
        self,
        questions: Mapping[str, str],
        grades: Grades,
        search: Callable[[str, str], Sequence[Candidate]],
        save: Callable[[Grades], object],
    ) -> None:
        """
        Args:
            grades: grades from before; these candidates are not asked for again.
            search: returns the candidates of a question, by its id and text, best first.
            save: called with all grades after each change.
        """
        self.grades = grades
        self.judged = 0
        self._questions = list(questions.items())
        self._search = search
        self._save = save
        self._found: dict[int, Sequence[Candidate]] = {}
        self._at = (0, 0)
        self._history: list[tuple[tuple[int, int], bool]] = []  # positions, and whether they were graded

    def current(self) -> Item | None:
        """Return the next decision; None if there is none left."""
        question, place = self._at
        while question < len(self._questions):
            name, text = self._questions[question]
            candidates = self._candidates(question)
            while place < len(candidates):
                candidate = candidates[place]
                if candidate.id not in self.grades.get(name, {}):
                    self._at = (question, place)
                    return Item(name, text, question + 1, len(self._questions), candidate, place + 1, len(candidates))
                place += 1
            question, place = question + 1, 0
        self._at = (question, place)
        return None

    def grade(self, grade: int) -> None:
        """Grade the current candidate, and save."""
        item = self.current()
        if item is None:
            return
        self.grades.setdefault(item.question, {})[item.candidate.id] = grade
        self._save(self.grades)
        self.judged += 1
        self._advance(graded=True)

    def skip(self) -> None:
        """Leave the current candidate without a grade. The next session asks for it again."""
        if self.current() is not None:
            self._advance(graded=False)

    def undo(self) -> bool:
        """Go back to the last decision of this session, and take its grade away. Return False if there is none."""
        if not self._history:
            return False
        self._at, graded = self._history.pop()
        if graded:
            question, place = self._at
            name = self._questions[question][0]
            kept = self.grades[name]
            del kept[self._candidates(question)[place].id]
            if not kept:
                del self.grades[name]
            self._save(self.grades)
            self.judged -= 1
        return True

    def _advance(self, *, graded: bool) -> None:
        self._history.append((self._at, graded))
        question, place = self._at
        self._at = (question, place + 1)

    def _candidates(self, question: int) -> Sequence[Candidate]:
        if question not in self._found:
            self._found[question] = self._search(*self._questions[question])
        return self._found[question]
