"""A session of judging: what is asked, saved, skipped, undone and resumed."""

from theodolite.evaluation.judging import Candidate, Grades, JudgingSession

QUESTIONS = {"q1": "refunds?", "q2": "hours?"}


def session(grades: Grades, saved: list[Grades], count: int = 2) -> JudgingSession:
    def search(name: str, text: str) -> list[Candidate]:
        return [Candidate(f"{name}-{n}", text) for n in range(count)]

    def save(given: Grades) -> None:
        saved.append({name: dict(documents) for name, documents in given.items()})

    return JudgingSession(QUESTIONS, grades, search, save)


def asked(one: JudgingSession) -> str | None:
    item = one.current()
    return None if item is None else item.candidate.id


def test_every_grade_is_saved_at_once() -> None:
    saved: list[Grades] = []
    one = session({}, saved)
    seen = []
    for grade in (3, 0, 1, 2):
        seen.append(asked(one))
        one.grade(grade)
    assert seen == ["q1-0", "q1-1", "q2-0", "q2-1"]
    assert one.current() is None
    one.grade(1)
    assert saved[0] == {"q1": {"q1-0": 3}}
    assert saved[-1] == one.grades == {"q1": {"q1-0": 3, "q1-1": 0}, "q2": {"q2-0": 1, "q2-1": 2}}
    assert (len(saved), one.judged) == (4, 4)


def test_what_has_a_grade_is_not_asked_again() -> None:
    one = session({"q1": {"q1-0": 1, "other": 2}, "q2": {"q2-0": 0, "q2-1": 0}}, [])
    assert asked(one) == "q1-1"
    item = one.current()
    assert item is not None
    assert (item.number, item.questions, item.place, item.candidates) == (1, 2, 2, 2)
    one.grade(3)
    assert one.current() is None
    assert one.grades["q1"] == {"q1-0": 1, "other": 2, "q1-1": 3}


def test_skipped_ones_come_again_in_the_next_session() -> None:
    saved: list[Grades] = []
    one = session({}, saved)
    for _ in range(4):
        one.skip()
    one.skip()
    assert one.current() is None
    assert saved == []
    assert asked(session(one.grades, saved)) == "q1-0"


def test_undo_goes_back_over_questions() -> None:
    saved: list[Grades] = []
    one = session({"q1": {"q1-0": 1}}, saved)
    one.grade(2)
    one.skip()
    one.grade(3)
    assert one.current() is None
    assert one.undo()
    assert asked(one) == "q2-1"
    assert one.undo()
    assert asked(one) == "q2-0"
    assert one.undo()
    assert asked(one) == "q1-1"
    assert not one.undo(), "grades from before stay"
    assert saved[-1] == one.grades == {"q1": {"q1-0": 1}}
    assert one.judged == 0


def test_questions_that_find_nothing_are_passed_over() -> None:
    assert session({}, [], count=0).current() is None
