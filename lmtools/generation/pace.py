"""How fast this machine reads, writes and trains with a model, from a few timed batches.

A run says beforehand from these rates how long its stages will take.
"""

import time
from collections.abc import Callable

import torch

from lmtools.core.progress import Pace, say
from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.models.load import base_model, load
from lmtools.models.spec import ModelSpec

WRITTEN, RANK = 6, 32
"""Tokens that are written of each text, and the rank of the adapter that is trained."""
SLOW = 5.0
"""Seconds: what takes so long is measured well enough by one round."""


def measure_pace(spec: ModelSpec, rows: int = 4, length: int = 96) -> Pace | None:
    """Time a few batches of a model in this process, which takes some seconds.

    Training is timed with a new LoRA adapter on all linear layers; a third of a text is learnt.

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
    from peft import LoraConfig, get_peft_model

    loaded = load(spec.model_copy(update={"adapter": None}))
    model, device = loaded.model, loaded.device
    # Any tokens will do: the work does not depend on which they are.
    ids = torch.arange(rows * length, device=device).reshape(rows, length) % model.config.vocab_size

    def read() -> None:
        with torch.inference_mode():
            base_model(model).get_decoder()(input_ids=ids, use_cache=False)[0].sum().item()

    generator = HfGenerator.from_loaded(loaded)
    prompts = [f"{number} is a number, and the next one is" for number in range(8 * rows)]

    def write() -> None:
        generator.generate(prompts, Sampling(max_tokens=WRITTEN))

    batch = rows * length
    read_rate, write_rate = batch / _fastest(read), len(prompts) * WRITTEN / _fastest(write)
    # The adapter goes into the model's layers, so training is timed last.
    tuned = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    matrix = next(weight for weight in tuned.parameters() if weight.requires_grad)

    def train() -> None:
        logits = tuned(input_ids=ids, use_cache=False, logits_to_keep=length // 3).logits
        logits.float().log_softmax(dim=-1)[..., 0].sum().backward()
        float(matrix.grad[0, 0])  # waits for a GPU

    pace = Pace(read_rate, write_rate, batch / _fastest(train))
    generator.close()
    say(
        f"this machine reads {pace.read:.0f} tokens a second, writes {pace.written:.0f} and trains on "
        f"{pace.trained:.0f} at {loaded.identity.partition('@')[2]} (a few batches timed)"
    )
    return pace


def _fastest(batch: Callable[[], None]) -> float:
    """Seconds of the faster of two rounds after one that sets things up; of that one, where it is slow."""

    def seconds() -> float:
        begun = time.perf_counter()
        batch()
        return time.perf_counter() - begun

    first = seconds()
    return first if first > SLOW else min(seconds(), seconds())
