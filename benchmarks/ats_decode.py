"""What a temperature head costs while text is written: tokens per second with it and without.

    python benchmarks/ats_decode.py --vllm-python .venv-vllm/bin/python
    python benchmarks/ats_decode.py --vllm-python .venv-vllm/bin/python --dtype float32

Each takes about ten minutes on two cores that do nothing else, which they should not.

Greedy decoding of batches of 1, 8 and 32 prompts, 64 new tokens each, by

    hf/generate   model.generate() of transformers, left-padded
    hf/lmtools    the hf backend
    vllm          vLLM's engine on an exported directory (only with --vllm-python, which names an interpreter
                  that has vLLM and lmtools; both engines live in processes of their own)

``overhead`` is seconds with the head over seconds without it, less 1: mean and median of all rounds. A run
without the head comes before and after each with it, so that a busy machine is busy for both. The head is a
new transformer head: its weights decide nothing here. ``arithmetic`` rows say what the layer's share of the
work is, on this model and on one of 7 B parameters. Writes benchmarks/results/ats_decode.json.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from figures import once
from transformers import AutoConfig

from lmtools.ats.artefact import BaseInfo, save_head
from lmtools.ats.calibrated import calibrate
from lmtools.ats.export import export_vllm
from lmtools.ats.heads import build_head
from lmtools.ats.recipe import BaseShape, HeadConfig, base_shape
from lmtools.core.environment import machine, versions
from lmtools.core.intervals import mean_interval
from lmtools.core.results import Results, Row, read_results
from lmtools.data.sources import load_questions
from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.models.chat import Message, render
from lmtools.models.files import BYTES
from lmtools.models.load import LoadedModel, identity, load, load_tokenizer, resolve
from lmtools.models.precision import default_precision
from lmtools.models.spec import BUILTIN_LM, ModelSpec

RESULTS = Path(__file__).parent / "results" / "ats_decode.json"
SEVEN_B = BaseShape(
    hidden=4096, intermediate=11008, heads=32, kv_heads=32, head_dim=128, layers=32, vocabulary=32000
)
Peer = Callable[[Sequence[str], int], int]
"""Prompts, new tokens -> how many tokens were written."""


def prompts_of(spec: ModelSpec, count: int) -> list[str]:
    """Chat prompts that make a model write for long."""
    tokenizer = load_tokenizer(spec)
    return [
        render(tokenizer, [Message("user", f"Tell a long story in which someone asks: {record.question}")])
        for record in load_questions("atlas:train", limit=count)
    ]


def generate_peer(loaded: LoadedModel) -> Peer:
    """transformers' ``generate``, which may not stop early."""

    def run(prompts: Sequence[str], new: int) -> int:
        inputs = loaded.tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
        out = loaded.model.generate(
            **inputs.to(loaded.device), do_sample=False, min_new_tokens=new, max_new_tokens=new
        )
        return len(prompts) * (out.shape[1] - inputs.input_ids.shape[1])

    return run


def lmtools_peer(loaded: LoadedModel) -> Peer:
    """The hf backend, with no prefix remembered."""

    def run(prompts: Sequence[str], new: int) -> int:
        completions = HfGenerator.from_loaded(loaded).generate(prompts, Sampling(max_tokens=new))
        return sum(len(completion.tokens) for [completion] in completions)

    return run


@contextmanager
def vllm_peer(python: str, directory: Path, dtype: str) -> Iterator[Peer]:
    """An engine in a process of its own, which waits for batches on its standard input."""
    command = [python, __file__, "--engine", str(directory), "--dtype", dtype]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    sender, receiver = process.stdin, process.stdout

    def run(prompts: Sequence[str], new: int) -> int:
        sender.write(json.dumps([list(prompts), new]) + "\n")
        sender.flush()
        for line in receiver:  # vLLM has things to say, too
            if line.startswith("tokens "):
                return int(line.split()[1])
        raise SystemExit(f"the engine on {directory} ended")

    with process:
        yield run
        sender.close()


def serve(directory: Path, dtype: str) -> None:
    """The engine's process: a JSON line of prompts and new tokens in, a line of tokens written out."""
    from lmtools.generation.vllm_engine import engine_options, import_vllm, start

    vllm = import_vllm()
    from vllm.platforms import current_platform

    spec = ModelSpec(name=str(directory), dtype=dtype, max_model_len=2048)
    engine = start(directory, engine_options(spec, {}, cpu=current_platform.is_cpu()))
    for line in sys.stdin:
        prompts, new = json.loads(line)
        params = vllm.SamplingParams(max_tokens=new, temperature=0.0, ignore_eos=True, detokenize=False)
        outputs = engine.generate(prompts, params, use_tqdm=False)
        print("tokens", sum(len(output.outputs[0].token_ids) for output in outputs), flush=True)


def timed(peer: Peer, prompts: Sequence[str], new: int) -> tuple[float, int]:
    """Seconds, and tokens written."""
    begin = time.perf_counter()
    tokens = peer(prompts, new)
    return time.perf_counter() - begin, tokens


def compare(name: str, plain: Peer, calibrated: Peer, prompts: Sequence[str], new: int, rounds: int) -> Row:
    """Both peers on the same batch, in turns."""
    for peer in (plain, calibrated):
        peer(prompts, 4)
    before, tokens = timed(plain, prompts, new)
    rates: dict[str, list[float]] = {"without_head": [tokens / before], "with_head": []}
    overhead = []
    for _ in range(rounds):
        seconds, same = timed(calibrated, prompts, new)
        assert same == tokens, "the head changed the text"
        after, _tokens = timed(plain, prompts, new)
        rates["with_head"].append(tokens / seconds)
        rates["without_head"].append(tokens / after)
        overhead.append(seconds / ((before + after) / 2) - 1)
        before = after
    figures = {f"{key}_tokens_per_second": mean_interval(values) for key, values in rates.items()}
    print(
        f"{name}: {tokens / before:.0f} tokens/s, overhead {median(overhead):+.1%}",
        file=sys.stderr,
    )
    figures |= {"overhead": mean_interval(overhead), "overhead_median": once(median(overhead), rounds)}
    return Row(name, figures)


def arithmetic(name: str, shape: BaseShape, dtype_bytes: int, head_bytes: int) -> Row:
    """A transformer head's share of a forward pass, from the sizes alone.

    Decoding a small batch is bound by the weights that are read: all but the embedding's, of which a token
    needs one row. Operations are twice the weights; attention over the context is 1/layers of the base's.
    """
    attention = 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    layer = attention + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
    base = shape.layers * layer + shape.hidden * shape.vocabulary
    figures = {
        "base_parameters_read": base,
        "head_parameters": layer,
        "operations_share": layer / base,
        "bytes_share": layer * head_bytes / (base * dtype_bytes),
        "kv_cache_share": head_bytes / dtype_bytes / shape.layers,
    }
    return Row(name, {key: once(value) for key, value in figures.items()})


def measure(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All rows."""
    spec = ModelSpec(name=options.model, dtype=options.dtype)
    files = resolve(spec)
    shape = base_shape(AutoConfig.from_pretrained(files.path))
    head = folder / "head"
    save_head(build_head(HeadConfig(), shape), head, BaseInfo.of(spec.name, identity(spec, files)), {})
    prompts = prompts_of(spec, max(options.batches))
    width = BYTES[options.dtype]
    yield arithmetic(f"arithmetic/{options.dtype}/hf/7B", SEVEN_B, width, 4)
    yield arithmetic(f"arithmetic/{options.dtype}/vllm/7B", SEVEN_B, width, width)
    yield arithmetic(f"arithmetic/{options.dtype}/hf/this", shape, width, 4)
    yield arithmetic(f"arithmetic/{options.dtype}/vllm/this", shape, width, width)
    with ExitStack() as stack:
        peers: dict[str, tuple[Peer, Peer]] = {}
        if options.vllm_python:
            exported = export_vllm(head, folder / "exported", spec)
            plain = stack.enter_context(vllm_peer(options.vllm_python, files.path, options.dtype))
            calibrated = stack.enter_context(vllm_peer(options.vllm_python, exported, options.dtype))
            peers["vllm"] = plain, calibrated
        if not options.only_vllm:
            base = load(spec)
            with_head = calibrate(base, head)
            peers["hf/generate"] = generate_peer(base), generate_peer(with_head)
            peers["hf/lmtools"] = lmtools_peer(base), lmtools_peer(with_head)
        for name, (plain, calibrated) in peers.items():
            for batch in options.batches:
                label = f"{options.dtype}/{name}/{batch}"
                yield compare(label, plain, calibrated, prompts[:batch], options.tokens, options.rounds)


def merged(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of earlier runs that these do not replace, then these."""
    earlier = read_results(RESULTS).rows if RESULTS.exists() else ()
    names = {row.name for row in rows}
    return (*(row for row in earlier if row.name not in names), *rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=BUILTIN_LM)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="what auto is here, unless named")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each prompt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vllm-python", help="an interpreter with vLLM; without it, hf only")
    parser.add_argument("--only-vllm", action="store_true", help="leave hf out")
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.dtype = options.dtype or default_precision("auto").dtype
    if options.engine:
        serve(options.engine, options.dtype)
        return
    with TemporaryDirectory() as folder:
        rows = list(measure(options, Path(folder)))
    command = "python " + " ".join(["benchmarks/ats_decode.py", *sys.argv[1:]])
    Results("benchmarks/ats_decode", command, 0, versions(), machine(), merged(rows)).write(RESULTS)
    for row in rows:
        print(row.name, {name: round(value.value, 4) for name, value in row.metrics.items()})


if __name__ == "__main__":
    main()
