"""What dry runs share: they go on without a network or a service, and say at the end what was not checked."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from lmtools.core.errors import MachineError
from lmtools.core.progress import say

T = TypeVar("T")


class Attempts:
    """Runs the steps of a dry run; one that fails for want of a network or a service is noted.

    ``attempt("the model", lambda: ...)`` gives the step's value or None; ``unchecked`` collects what could
    not be checked and why, a sentence each.
    """

    def __init__(self) -> None:
        self.unchecked: list[str] = []

    def __call__(self, what: str, step: Callable[[], T]) -> T | None:
        """What ``step`` gives; None where this machine lacks something for it. Other errors are raised."""
        try:
            return step()
        except MachineError as error:
            self.unchecked.append(f"{what}: {error.message.splitlines()[0]}")
            return None


def say_model(precision: str | None, weights_gib: float | None) -> None:
    """A model's precision and why, and what it takes, where they are known, on stderr."""
    if precision is not None:
        say(f"precision: {precision}")
    if weights_gib is not None:
        say(f"memory: {weights_gib} GiB of weights, and what a batch needs")


def say_unchecked(unchecked: Sequence[str]) -> None:
    """A plan's last lines on stderr: what was not checked, and that the rest is in order."""
    for sentence in unchecked:
        say(f"not checked: {sentence}")
    say(f"{'all else' if unchecked else 'everything'} checks out; run it without --dry-run")
