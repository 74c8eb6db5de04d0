"""Which seed a sample is drawn with."""

from lmtools.core.seeds import derive
from lmtools.generation.protocol import Sampling


def sample_seed(prompt: str, sampling: Sampling, sample: int) -> int:
    """The seed of one sample, from the run's seed, the prompt's text and the sample's index; below 2**31.

    It names nothing of the batch, so a sample stays the same whatever is generated beside it.
    """
    return derive(sampling.seed, prompt, sample) % 2**31
