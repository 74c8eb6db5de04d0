"""A minute of the fuzz driver: every target, mutated inputs of a fixed seed."""

import pytest
from fuzz.drive import attempt, drive
from fuzz.mutate import mutated
from fuzz.targets import Target, targets


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> list[Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_valid_inputs_are_read(chosen):
    """Of each target at least one; else its mutations would show nothing."""
    assert [
        target.name for target in chosen if not any(attempt(target, seed)[0] for seed in target.seeds)
    ] == []


def test_mutated_inputs_are_read_or_refused(chosen, tmp_path):
    outcomes = drive(chosen, 30_000, seed=1, folder=tmp_path / "faults")

    assert {name: dict(outcome.faults) for name, outcome in outcomes.items() if outcome.faults} == {}
    assert sum(outcome.read for outcome in outcomes.values()) > 1000


def test_a_fault_is_found(tmp_path):
    """The driver itself: an exception that is no refusal, and the input that made it, are kept."""

    def fragile(data: bytes) -> None:
        if b"null" in data:
            raise ZeroDivisionError

    outcomes = drive([Target("fragile", [b'{"a": 1}'], fragile)], 500, folder=tmp_path)

    [(fault, count)] = outcomes["fragile"].faults.items()
    assert fault.startswith("ZeroDivisionError")
    assert count > 1
    [kept] = tmp_path.iterdir()
    assert b"null" in kept.read_bytes()


def test_mutations_differ_and_are_the_same_for_a_seed():
    import random

    seed = b'{"id": "a", "question": "Who?", "answer": [1, 2]}\n'
    first, again = ([mutated(seed, random.Random(n)) for n in range(200)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 150
