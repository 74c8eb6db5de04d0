"""Exploration with a few-shot prefix: queries per second of the hf backend against transformers' generate().

    python benchmarks/explore.py                      float32: all peers must write the same tokens
    python benchmarks/explore.py --dtype bfloat16     the share of queries with the same tokens is reported

Every question is asked behind the same demonstrations (at least 500 tokens), greedily, 24 tokens at most.
The peers run the same loaded model on the full prompts:

    generate-1      model.generate, one prompt after the other
    generate-batch  model.generate, left-padded batches of 16, longest prompts first

each with transformers' default attention (sdpa) and with eager. lmtools starts with no prefix remembered in
any round. Peers take turns, so that a busy machine is busy for all. Writes benchmarks/results/explore.json.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from figures import once

from lmtools.core.environment import machine, versions
from lmtools.core.intervals import mean_interval
from lmtools.core.results import Results, Row, read_results
from lmtools.data.sources import load_questions
from lmtools.generation.hf import HfGenerator
from lmtools.generation.past import common_prefix
from lmtools.generation.protocol import Sampling
from lmtools.leret.prompts import Demonstration, Prompt, query_messages
from lmtools.models.chat import render
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import BUILTIN_LM, ModelSpec

RESULTS = Path(__file__).parent / "results" / "explore.json"
NEW_TOKENS = 24
BATCH = 16
LEAST_PREFIX = 500
Tokens = list[tuple[int, ...]]
Peer = Callable[[LoadedModel, Sequence[str]], Tokens]


def prompts_of(loaded: LoadedModel, count: int) -> tuple[list[str], int]:
    """Few-shot prompts for ``count`` questions, and how many tokens they share."""
    questions = load_questions("atlas:train", limit=count + 40)
    for shots in range(8, 41):
        demonstrations = tuple(
            Demonstration(question.question, (), " ".join(question.question.rstrip("?").split()[2:]))
            for question in questions[:shots]
        )
        prompt = Prompt("few-shot", demonstrations)
        texts = [
            render(loaded.tokenizer, query_messages(prompt, question.question, ()))
            for question in questions[40:]
        ]
        ids = loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
        shared = min(common_prefix(ids[0], row) for row in ids)
        if shared >= LEAST_PREFIX:
            return texts, shared
    raise SystemExit("the questions are too short for a prefix of 500 tokens")


def run_lmtools(loaded: LoadedModel, prompts: Sequence[str]) -> Tokens:
    """The hf backend, from cold."""
    completions = HfGenerator.from_loaded(loaded).generate(prompts, Sampling(max_tokens=NEW_TOKENS))
    return [completion.tokens for [completion] in completions]


def run_one_by_one(loaded: LoadedModel, prompts: Sequence[str]) -> Tokens:
    """``model.generate`` on one full prompt after the other."""
    return [tokens for prompt in prompts for tokens in generate(loaded, [prompt])]


def run_batched(loaded: LoadedModel, prompts: Sequence[str]) -> Tokens:
    """``model.generate`` on left-padded batches of prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    written: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        written |= zip(batch, generate(loaded, [prompts[index] for index in batch]), strict=True)
    return [written[index] for index in range(len(prompts))]


def generate(loaded: LoadedModel, prompts: Sequence[str]) -> Tokens:
    """transformers' greedy continuations, each up to its end of sequence."""
    inputs = loaded.tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
    inputs = inputs.to(loaded.device)
    out = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    end = loaded.tokenizer.eos_token_id
    rows = out[:, inputs.input_ids.shape[1] :].tolist()
    return [tuple(row[: row.index(end) + 1] if end in row else row) for row in rows]


def with_attention(name: str, peer: Peer) -> Peer:
    """A peer under one of transformers' own attention implementations."""

    def run(loaded: LoadedModel, prompts: Sequence[str]) -> Tokens:
        loaded.model.set_attn_implementation(name)
        return peer(loaded, prompts)

    return run


PEERS: dict[str, Peer] = {
    "generate-1/sdpa": with_attention("sdpa", run_one_by_one),
    "generate-1/eager": with_attention("eager", run_one_by_one),
    "generate-batch/sdpa": with_attention("sdpa", run_batched),
    "generate-batch/eager": with_attention("eager", run_batched),
}


def timed(peer: Peer, loaded: LoadedModel, prompts: Sequence[str]) -> tuple[float, Tokens]:
    """Seconds, and the tokens written."""
    start = time.perf_counter()
    tokens = peer(loaded, prompts)
    return time.perf_counter() - start, tokens


def compare(loaded: LoadedModel, prompts: Sequence[str], rounds: int, label: str) -> tuple[list[Row], bool]:
    """One row for each peer, and whether all wrote the same tokens. lmtools runs before and after each."""
    for peer in (run_lmtools, *PEERS.values()):
        peer(loaded, prompts[:2])
    rate: dict[str, list[float]] = {name: [] for name in PEERS}
    ours: list[float] = []
    speedup: dict[str, list[float]] = {name: [] for name in PEERS}
    same: dict[str, float] = {}
    for _ in range(rounds):
        before, expected = timed(run_lmtools, loaded, prompts)
        ours.append(len(prompts) / before)
        for name, peer in PEERS.items():
            seconds, tokens = timed(peer, loaded, prompts)
            after, _tokens = timed(run_lmtools, loaded, prompts)
            ours.append(len(prompts) / after)
            rate[name].append(len(prompts) / seconds)
            speedup[name].append(seconds / ((before + after) / 2))
            same[name] = sum(map(tuple.__eq__, expected, tokens)) / len(prompts)
            before = after
            print(f"{name}: {seconds:.1f} s, lmtools {after:.1f} s", file=sys.stderr, flush=True)
    rows = [Row(f"{label}/lmtools", {"queries_per_second": mean_interval(ours)})]
    for name in PEERS:
        figures = {
            "queries_per_second": mean_interval(rate[name]),
            "speedup_of_lmtools": mean_interval(speedup[name]),
            "same_tokens": once(same[name], len(prompts)),
        }
        rows.append(Row(f"{label}/{name}", figures))
    return rows, all(share == 1 for share in same.values())


def merged(rows: Sequence[Row], label: str) -> tuple[Row, ...]:
    """The rows of an earlier run at another precision, then these."""
    earlier = read_results(RESULTS).rows if RESULTS.exists() else ()
    return (*(row for row in earlier if not row.name.startswith(f"{label}/")), *rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=BUILTIN_LM)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1, help="one takes some minutes on two cores")
    parser.add_argument("--threads", type=int, help="torch's threads; without it torch decides")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    loaded = load(ModelSpec(name=options.model, dtype=options.dtype))
    prompts, shared = prompts_of(loaded, options.questions)
    rows, same = compare(loaded, prompts, options.rounds, options.dtype)
    setting: dict[str, Any] = {
        "questions": len(prompts), "shared_prefix_tokens": shared, "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(), "device": loaded.device,
    }  # fmt: skip
    rows.append(Row(f"{options.dtype}/setting", {k: once(v) for k, v in setting.items() if k != "device"}))
    command = "python " + " ".join(["benchmarks/explore.py", *sys.argv[1:]])
    hardware = machine() | {"device": loaded.device}
    results = Results("benchmarks/explore", command, 0, versions(), hardware, merged(rows, options.dtype))
    results.write(RESULTS)
    for row in rows:
        print(row.name, {name: round(asdict(value)["value"], 3) for name, value in row.metrics.items()})
    if options.dtype == "float32" and not same:
        raise SystemExit("the peers wrote different tokens")


if __name__ == "__main__":
    main()
