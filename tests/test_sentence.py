"""A Sentence is a str in Python's words, and keeps its settings for whoever words it otherwise."""

import copy
import pickle
from pathlib import Path

import pytest

from backpass.errors import DataError
from backpass.sentence import Change, Clause, Part, Sentence, Setting, sentence_of

WAY_OUT = Sentence(
    "or ", Change("missing", "impute"), " (fill in)", Clause("; ", Setting("cap", 1))
)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Setting("missing", "drop"), "missing='drop'"),
        (Change("missing", "drop"), "set missing='drop'"),
        (Change("encoding"), "set encoding"),
        (Setting("stratify", None), "stratify=None"),
        (Setting("ignore", ("a", "b")), "ignore=['a', 'b']"),
        (Change("categories", ("a",)), "add 'a' to categories"),
        (Setting("ignore", ("a" * 100,)), f"ignore=['{'a' * 60}'...]"),
        (Setting("resume", Path("a" * 100)), f"resume='{'a' * 100}'"),
        (Clause("; raise ", Setting("cap")), "; raise cap"),
        (WAY_OUT, str(WAY_OUT)),
    ],
)
def test_in_the_words_of_python(part: Part, words: str) -> None:
    said = Sentence("x is missing, ", part, ".")
    assert said == f"x is missing, {words}." and isinstance(said, str)


def test_every_speaker_has_words_of_their_own() -> None:
    said = Sentence("x is missing, ", WAY_OUT, ".")
    assert [s.name for s in said.settings] == ["missing", "cap"]
    assert said.worded(lambda s: s.name.upper()) == "x is missing, or MISSING (fill in); CAP."
    assert said.worded(lambda s: None) == "x is missing, or set missing='impute' (fill in)."


def test_an_error_keeps_its_sentence() -> None:
    error = DataError(Sentence("x is missing, ", WAY_OUT))
    assert str(error) == f"x is missing, {WAY_OUT}"
    said = sentence_of(error)
    assert isinstance(said, Sentence) and said.settings == WAY_OUT.settings
    assert sentence_of(DataError("plain")) == "plain"
    assert sentence_of(OSError(2, "No such file")) == "[Errno 2] No such file"


def test_it_can_be_copied_and_sent() -> None:
    said: list[Sentence] = [copy.copy(WAY_OUT), copy.deepcopy(WAY_OUT)]
    said.append(pickle.loads(pickle.dumps(WAY_OUT)))
    for again in said:
        assert again == WAY_OUT and again.settings == WAY_OUT.settings
