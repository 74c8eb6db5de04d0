"""How fast this machine reads, writes and trains with a model, from a few timed batches."""

import time
from collections.abc import Callable

import torch

from lmtools.core.pace import Pace
from lmtools.core.progress import say
from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.models.load import base_model, load
from lmtools.models.spec import ModelSpec

WRITTEN = 6
"""Tokens that are written of each text."""


def measure_pace(spec: ModelSpec, rows: int = 4, length: int = 96) -> Pace | None:
    """Time a few batches of a model in this process; takes it some seconds.

    Training is timed as LoRA's: a forward pass, and a backward pass that leaves the weights alone.

    Args:
        spec: the model.
        rows, length: texts in a batch that is read, and tokens in each; eight times as many are written.

    Returns:
        None where another backend than hf computes.

    Raises:
        ModelError: the model cannot be used.
        MachineError: there is not enough memory.
    """
    if spec.backend != "hf":
        return None
    loaded = load(spec)
    model, device = loaded.model, loaded.device
    ids = torch.arange(rows * length, device=device).reshape(rows, length) % model.config.vocab_size
    states = model.get_input_embeddings()(ids).detach().requires_grad_(True)
    model.requires_grad_(False)

    def read() -> None:
        with torch.inference_mode():
            base_model(model).get_decoder()(input_ids=ids, use_cache=False)[0].sum().item()

    def train() -> None:
        base_model(model).get_decoder()(inputs_embeds=states, use_cache=False)[0].sum().backward()
        float(states.grad[0, 0, 0])  # waits for a GPU

    generator = HfGenerator.from_loaded(loaded)
    prompts = [f"{number} is a number, and the next one is" for number in range(8 * rows)]

    def write() -> None:
        generator.generate(prompts, Sampling(max_tokens=WRITTEN))

    batch = rows * length
    pace = Pace(batch / _fastest(read), len(prompts) * WRITTEN / _fastest(write), batch / _fastest(train))
    generator.close()
    say(
        f"this machine reads {pace.read:.0f} tokens a second, writes {pace.written:.0f} and trains on "
        f"{pace.trained:.0f} at {loaded.identity.partition('@')[2]} (a few batches timed)"
    )
    return pace


def _fastest(batch: Callable[[], None]) -> float:
    """Seconds of the faster of two rounds, after one that sets things up."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        batch()
        times.append(time.perf_counter() - begun)
    return min(times[1:])
