"""An epoch of fitting a temperature head: from lmtools' cache, and the way of the method's public code.

    python benchmarks/ats_fit.py                some minutes on two cores
    python benchmarks/ats_fit.py --rounds 3

The peer ``recompute`` runs the language model on every batch, makes logits of all its positions, applies the
head to all of them, and takes the loss from log-softmax over the whole vocabulary; gradients reach the head
alone. Same sequences, same batches, same loss, same precision (float32). Both take a step with AdamW.

    speedup         seconds of the peer over seconds from the cache
    largest_tensor  numbers in the largest tensor that an epoch makes

lmtools runs before and after each epoch of the peer, so that a busy machine is busy for both. The cache is
made once, at about the cost of one of the peer's epochs; that is not part of the figures. Writes
benchmarks/results/ats_fit.json.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from figures import once
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lmtools.ats.batches import Batches
from lmtools.ats.fit import read_features
from lmtools.ats.heads import TemperatureHead, build_head
from lmtools.ats.inputs import AtsInputs, prepare
from lmtools.ats.recipe import AtsRecipe, DataSettings, HeadConfig, HeadKind, TrainSettings
from lmtools.ats.train import train_head
from lmtools.core.environment import machine, versions
from lmtools.core.intervals import mean_interval
from lmtools.core.results import Results, Row
from lmtools.models.load import LoadedModel, load

RESULTS = Path(__file__).parent / "results" / "ats_fit.json"
KINDS: tuple[HeadKind, ...] = ("transformer", "mlp", "linear")
ALPHA = 0.5


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return out


def from_cache(head: TemperatureHead, batches: Batches, inputs: AtsInputs) -> None:
    """One epoch of lmtools."""
    settings = TrainSettings(epochs=1, batch_sequences=inputs.recipe.train.batch_sequences)
    train_head(head, batches, inputs.split.train, [], inputs.recipe.loss, settings, seed=0)


def recompute(head: TemperatureHead, loaded: LoadedModel, inputs: AtsInputs) -> None:
    """One epoch with the language model and whole logits in it."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-4)
    size = inputs.recipe.train.batch_sequences
    order = list(inputs.split.train)
    for start in range(0, len(order), size):
        chosen = [inputs.rows.marked[index] for index in order[start : start + size]]
        width = max(len(row.ids) for row in chosen)
        ids = torch.tensor([list(row.ids) + [0] * (width - len(row.ids)) for row in chosen])
        answers = torch.tensor([list(row.response) + [False] * (width - len(row.ids)) for row in chosen])
        with torch.no_grad():
            out = loaded.model(input_ids=ids, output_hidden_states=True, use_cache=False)
        scaled = out.logits[:, :-1] * head(out.hidden_states[-1][:, :-1]).exp()[..., None]
        loss = selective_smoothing(scaled, ids[:, 1:], answers[:, 1:])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()


def selective_smoothing(logits: Tensor, labels: Tensor, answers: Tensor) -> Tensor:
    """The paper's loss over logits (rows, tokens, vocabulary), as its public code computes it."""
    log_p = logits.log_softmax(dim=-1)
    right = logits.argmax(dim=-1) == labels
    nll = -log_p.gather(-1, labels[..., None])[..., 0]
    each = torch.where(right, (1 - ALPHA) * nll, -ALPHA * log_p.mean(dim=-1))
    return each[answers].mean()


def seconds(run: Callable[[], None]) -> float:
    """How long a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    kind: HeadKind, inputs: AtsInputs, loaded: LoadedModel, batches: Batches, rounds: int
) -> list[Row]:
    """The rows of one kind of head."""

    def head() -> TemperatureHead:
        return build_head(HeadConfig(kind=kind), inputs.shape)

    ours: list[float] = []
    theirs: list[float] = []
    ratios: list[float] = []
    for _ in range(rounds):
        before = seconds(lambda: from_cache(head(), batches, inputs))
        peer = seconds(lambda: recompute(head(), loaded, inputs))
        after = seconds(lambda: from_cache(head(), batches, inputs))
        ours += [before, after]
        theirs.append(peer)
        ratios.append(peer / ((before + after) / 2))
        print(
            f"{kind}: {peer:.2f} s, from the cache {before:.2f} and {after:.2f} s",
            file=sys.stderr,
            flush=True,
        )
    with Largest() as cached:
        from_cache(head(), batches, inputs)
    with Largest() as recomputed:
        recompute(head(), loaded, inputs)
    return [
        Row(
            f"{kind}/cache",
            {
                "seconds": mean_interval(ours),
                "speedup": mean_interval(ratios),
                "largest_tensor": once(cached.numbers),
            },
        ),
        Row(
            f"{kind}/recompute",
            {"seconds": mean_interval(theirs), "largest_tensor": once(recomputed.numbers)},
        ),
    ]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instructions", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, help="torch's threads; without it torch decides")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = AtsRecipe(data=DataSettings(limit=options.instructions, layouts=("chat",)))
    inputs, loaded = prepare(recipe), load(recipe.model)
    cache = read_features(inputs, lambda: loaded)
    rows: list[Row] = []
    for kind in KINDS:
        batches = Batches(cache, HeadConfig(kind=kind), loaded.device)
        rows += compare(kind, inputs, loaded, batches, options.rounds)
    tokens = sum(len(inputs.rows.marked[index].ids) for index in inputs.split.train)
    setting = {
        "sequences": len(inputs.split.train), "tokens": tokens, "vocabulary": inputs.shape.vocabulary,
        "logits": tokens * inputs.shape.vocabulary, "threads": torch.get_num_threads(),
    }  # fmt: skip
    rows.append(Row("setting", {name: once(value) for name, value in setting.items()}))
    command = "python " + " ".join(["benchmarks/ats_fit.py", *arguments])
    Results("benchmarks/ats_fit", command, 0, versions(), machine(), tuple(rows)).write(RESULTS)
    for row in rows:
        print(row.name, {name: round(value.value, 2) for name, value in row.metrics.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
