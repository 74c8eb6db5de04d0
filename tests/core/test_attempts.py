"""Steps of a dry run: what may be lacking is noted, what is wrong stays wrong."""

import pytest

from lmtools.core.dry_run import Attempts, say_model, say_unchecked
from lmtools.core.errors import DataError, MachineError


def failing(error):
    def step():
        raise error

    return step


def test_what_the_machine_lacks_is_noted_and_passed_over():
    attempt = Attempts()
    assert attempt("the model", lambda: 3) == 3
    assert attempt("the corpus", failing(MachineError("no route\nto the hub"))) is None
    assert attempt.unchecked == ["the corpus: no route"]
    with pytest.raises(DataError):
        attempt("the questions", failing(DataError("line 3: no answer")))


def test_the_last_lines_of_a_plan(capsys):
    say_model(None, None)
    say_unchecked(())
    assert capsys.readouterr().err == "everything checks out; run it without --dry-run\n"
    say_model("float32: no bfloat16 here", 0.5)
    say_unchecked(["the search: no answer"])
    assert capsys.readouterr().err == (
        "precision: float32: no bfloat16 here\n"
        "memory: 0.5 GiB of weights, and what a batch needs\n"
        "not checked: the search: no answer\n"
        "all else checks out; run it without --dry-run\n"
    )
