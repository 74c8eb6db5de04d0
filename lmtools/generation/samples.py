"""Which samples of a prompt are computed, and with which seed each is drawn."""

from collections.abc import Sequence
from typing import TypeVar

from lmtools.core.seeds import derive
from lmtools.generation.protocol import Sampling

Item = TypeVar("Item")


def sample_seed(prompt: str, sampling: Sampling, sample: int) -> int:
    """The seed of one sample, from the run's seed, the prompt's text and the sample's index; below 2**31.

    It names nothing of the batch, so a sample stays the same whatever is generated beside it.
    """
    return derive(sampling.seed, prompt, sample) % 2**31


def draws(sampling: Sampling, samples: int) -> int:
    """How many of ``samples`` are computed: greedy ones are all the same, so one of them at most."""
    return samples if sampling.temperature > 0 else min(samples, 1)


def by_prompt(done: Sequence[Item], prompts: int, samples: int) -> list[list[Item]]:
    """``samples`` items for each of ``prompts``, from the computed ones, which are prompt by prompt.

    Where fewer were computed they are repeated: ``by_prompt("ab", 2, 3)`` is ``[["a"] * 3, ["b"] * 3]``.
    """
    each = len(done) // prompts if prompts else 0
    rows = [list(done[index * each : (index + 1) * each]) for index in range(prompts)]
    return [row * (samples // each) if each else [] for row in rows]
