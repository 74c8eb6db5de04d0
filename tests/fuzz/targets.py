"""What is fuzzed: everything that reads a file or a reply, with valid inputs to begin from.

Artefacts come from runs of every system on tiny models, made once. A mutated file takes the place of the
valid one in its run, is read by what reads it in earnest, and the valid one is put back.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import quiz
import small_world
import tiny
import tiny_fit
import tiny_hyre

from lmtools.core.recipe import load_recipe
from lmtools.data.reader import EXAMPLES

Reader = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """Something that reads bytes; ``share``: how many inputs it gets, next to others."""

    name: str
    seeds: Sequence[bytes]
    read: Reader
    share: float = 1.0


def targets(folder: Path) -> list[Target]:
    """All of them; what they read is written below ``folder``."""
    return [*data_targets(folder), *recipe_targets(folder), *reply_targets(), *artefact_targets(folder)]


def lines(*records: Any) -> bytes:
    """Records as JSONL."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def from_file(path: Path, read: Callable[[Path], object]) -> Reader:
    """Bytes as the file ``path``, which is read and put back."""

    def replaced(data: bytes) -> object:
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(data)
        try:
            return read(path)
        finally:
            if before is not None:
                path.write_bytes(before)

    return replaced


# Data files

FACTS = {"supporting_facts": [["Lund", 0]], "context": [["Lund", ["Lund is old.", "It is in Sweden."]]]}
PUBLIC: dict[str, bytes] = {
    **{
        kind: lines(json.loads(EXAMPLES[kind]), json.loads(EXAMPLES[kind]) | {"id": "2"}) for kind in EXAMPLES
    },
    "messages": lines(
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
    ),
    "parts": lines(
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "Yes"},
            ]
        }
    ),
    "alpaca": json.dumps([{"instruction": "Say", "input": "a", "output": "b"}]).encode(),
    "hh": lines(
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}
    ),
    "hotpotqa": json.dumps(
        [{"_id": "a", "question": "Who?", "answer": "She", "type": "bridge"} | FACTS]
    ).encode(),
    "hover": json.dumps(
        [
            {
                "uid": "a",
                "claim": "It is.",
                "supporting_facts": [["Lund", 0]],
                "label": "SUPPORTED",
                "num_hops": 2,
            }
        ]
    ).encode(),
    "two_wiki": json.dumps(
        [
            {
                "_id": "a",
                "question": "Who?",
                "answer": "She",
                "type": "comparison",
                "evidences": [["a", "b", "c"]],
            }
            | FACTS
        ]
    ).encode(),
    "musique": lines(
        {
            "id": "2hop__1_2",
            "question": "Who?",
            "answer": "She",
            "answerable": True,
            "paragraphs": [
                {"idx": 0, "title": "Lund", "paragraph_text": "Lund is old.", "is_supporting": True}
            ],
        }
    ),
    "golden": lines({"id": "t1", "question": "Who?", "golden_answers": ["She", "Her"]}),
    "popqa": lines({"id": 1, "question": "Who?", "possible_answers": '["She", "Her"]'}),
    "llmbar": json.dumps([{"input": "Why?", "output_1": "So.", "output_2": "No.", "label": 2}]).encode(),
    "reward_bench": lines({"id": 1, "prompt": "Hi", "chosen": "a", "rejected": "b", "subset": "hep-go"}),
    "rm_bench": json.dumps(
        [{"id": 1, "prompt": "Hi", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}]
    ).encode(),
    "truthfulqa": b"Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    b"A,B,Why?,So,So; Sure,No; Not,x\n",
    "mc_task": json.dumps(
        [{"question": "Who?", "mc1_targets": {"She": 1, "He": 0}, "mc2_targets": {"She": 1}}]
    ).encode(),
    "csv": b'id,question,answer,supporting\na,Who?,She,"[""Lund"", ""Oslo""]"\nb,Where?,There,Lund | Oslo\n',
    "tsv": b"prompt\tchosen\trejected\nHi\tYes\tNo\nHo\tYes\tNo\n",
    "semicolons": b"id;title;text\n1;Lund;Lund is old.\n",
    "choices.csv": b'id,question,choices,answer\na,Which?,"[""x"", ""y""]",0\n',
    "sharegpt": lines(
        {"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]}
    ),
    "beir": lines({"_id": "d1", "title": "Lund", "text": "Lund is old.", "metadata": {}}),
    "arc": lines(
        {
            "id": "a",
            "question": "Which?",
            "choices": {"text": ["x", "y"], "label": ["A", "B"]},
            "answerKey": "B",
        }
    ),
    "pyserini": lines({"id": "d1", "contents": "Lund\nLund is old."}),
}


def data_targets(folder: Path) -> Iterator[Target]:
    """Every reader of data, by detection and by the kind that is asked for."""
    from lmtools.calibration.tasks import build_task, load_definition
    from lmtools.data.check import check
    from lmtools.data.predictions import read_predictions
    from lmtools.data.reader import Kind
    from lmtools.data.sources import Tally, iter_converted, open_source
    from lmtools.data.tabular import load_table
    from lmtools.generation.requests import read_requests

    def in_file(name: str, read: Callable[[Path], object]) -> Reader:
        return from_file(folder / name, read)

    def task(path: Path) -> object:
        return build_task(*load_definition(str(path)), None, 0)

    seeds = list(PUBLIC.values())
    yield Target("data check", seeds, in_file("data.jsonl", lambda path: check(str(path))), 20)
    for kind in get_args(Kind):
        yield Target(
            f"data {kind}",
            seeds,
            in_file(
                "kind.jsonl", lambda path, k=kind: list(iter_converted(open_source(str(path), k), k, Tally()))
            ),
            6,
        )
    table = b"size,price,weight\n1,2,3\n4,5.5,-6e2\n"
    yield Target(
        "data table", [table, table.replace(b",", b"\t")], in_file("t.csv", lambda p: load_table(str(p))), 4
    )
    uci = folder / "uci"
    uci.mkdir(parents=True, exist_ok=True)
    files = {"data.txt": b"1 2 3\n4 5 6\n", "index_features.txt": b"0\n1\n", "index_target.txt": b"2\n"}
    for name, content in files.items():
        (uci / name).write_bytes(content)
    for name, content in files.items():
        yield Target(f"data uci {name}", [content], from_file(uci / name, lambda _: load_table(str(uci))), 2)
    asks = [lines({"prompt": "Hi"}, {"id": "b", "messages": [{"role": "user", "content": "Hi"}]})]
    yield Target("data requests", asks, in_file("ask.jsonl", read_requests), 3)
    quizzes = [lines(*quiz.choice_records(3)), lines(*quiz.answer_records(3))]
    yield Target("data task", quizzes, in_file("task.jsonl", task), 4)
    definition = b"kind: answers\nsource: %b\nshots: 1\n" % str(folder / "short.jsonl").encode()
    (folder / "short.jsonl").write_bytes(quizzes[1])
    yield Target("data definition", [definition], in_file("task.yaml", task), 3)
    line = {"id": "q0", "task": "quiz", "method": "a", "answer": "A", "confidence": 0.8, "correct": True}
    yield Target(
        "data predictions", [lines(line, line | {"id": "q1"})], in_file("p.jsonl", read_predictions), 3
    )


# Recipes


def recipe_targets(folder: Path) -> Iterator[Target]:
    """The recipes of every system, as files and as settings."""
    from lmtools.ats.recipe import AtsRecipe
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.core.files import bundled
    from lmtools.hyre.recipe import HyreRecipe, RewardRecipe
    from lmtools.leret.recipe import LeretRecipe

    schemas: dict[str, Any] = {
        "leret/quickstart": LeretRecipe,
        "hyre/quickstart": HyreRecipe,
        "ats/quickstart": AtsRecipe,
        "calibration/quickstart": CalibrationRecipe,
        "hyre/reward": RewardRecipe,
    }
    for name, schema in schemas.items():
        seed = bundled("recipes", f"{name}.yaml").read_bytes()
        read = from_file(folder / "recipe.yaml", lambda path, s=schema: load_recipe(s, str(path), default=""))
        yield Target(f"recipe {name}", [seed], read, 1)

    def settings(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        return load_recipe(LeretRecipe, None, text.split("\n"), default="leret/quickstart")

    given = [
        b"train.sft.epochs=3",
        b"explore.first=[question, zero-shot]\nseed=4",
        b'retriever={"kind": "dense"}',
    ]
    yield Target("recipe --set", given, settings, 1)


# Replies


def reply_targets() -> Iterator[Target]:
    """What a server, a search service or a header may say."""
    from lmtools.core.http import error_text, retry_seconds
    from lmtools.generation.server import Completions, Models, Tokens, parse
    from lmtools.retrieval.http import parse_answer

    url = "http://127.0.0.1/v1"
    choice = {
        "text": " She",
        "finish_reason": "stop",
        "token_ids": [5, 6],
        "logprobs": {
            "tokens": [" She", "."],
            "token_logprobs": [-0.5, -0.1],
            "top_logprobs": [{" She": -0.5, " He": -2.0}, None],
            "text_offset": [0, 4],
        },
    }
    completions = [json.dumps({"id": "x", "choices": [choice], "usage": {"total_tokens": 3}}).encode()]
    hit = {"id": "p1", "title": "Lund", "score": 1.5, "text": "Lund is old."}
    ranking = [json.dumps({"results": [[hit, hit | {"id": "p2"}], []]}).encode()]
    yield Target(
        "reply completions",
        completions,
        lambda data: parse(Completions, data, url).choices[0].completion(),
        25,
    )
    yield Target(
        "reply models",
        [b'{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}'],
        lambda data: parse(Models, data, url),
        10,
    )
    yield Target(
        "reply tokens", [b'{"count": 2, "tokens": [1, 2]}'], lambda data: parse(Tokens, data, url), 5
    )
    yield Target("reply search", ranking, lambda data: parse_answer(url, data, 2), 20)
    yield Target(
        "reply error",
        [b'{"error": {"message": "too long", "code": 400}}', b"<html>busy</html>"],
        error_text,
        10,
    )
    dates = [b"12", b"Wed, 21 Oct 2026 07:28:00 GMT", b"1.5"]
    yield Target("reply retry-after", dates, lambda data: retry_seconds(data.decode("latin-1")), 10)


# Artefacts


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        patch.setenv("LMTOOLS_DTYPE", "float32")
        patch.setenv("TQDM_DISABLE", "1")
        yield


def make_runs(folder: Path) -> dict[str, Path]:
    """A finished run of every command, on a tiny model."""
    from lmtools.cli.app import run

    folder.mkdir(parents=True, exist_ok=True)
    model = tiny.save_tiny_llama(folder / "model")
    recipes = {
        "leret": small_world.write_recipe(folder / "world", model),
        "hyre": tiny_hyre.recipe_file(tiny_hyre.tiny_recipe(model, folder), folder / "hyre.yaml"),
        "ats": tiny_hyre.recipe_file(tiny_fit.tiny_recipe(model, folder), folder / "ats.yaml"),
    }
    tasks = [
        str(tiny_hyre.write(folder / f"{name}.jsonl", records))
        for name, records in {"towns": quiz.choice_records(), "short": quiz.answer_records()}.items()
    ]
    ask = ["--set", "chat=true", "--set", "resamples=100", "--task", tasks[0], "--task", tasks[1]]
    commands = {
        "leret": ["leret", "train", "--recipe", recipes["leret"]],
        "hyre": ["hyre", "train", "--recipe", recipes["hyre"]],
        "ats": ["ats", "fit", "--recipe", recipes["ats"]],
        "hyre-eval": ["hyre", "eval", folder / "hyre"],
        "adapt": ["hyre", "adapt", "--run", folder / "hyre"],
        "ats-eval": ["ats", "eval", folder / "ats", *ask],
    }
    for name, words in commands.items():
        if run([*map(str, words), "--out", str(folder / name)]) != 0:
            raise RuntimeError(f"{name}: the run failed")
    return {name: folder / name for name in commands}


def cache_targets(folder: Path) -> Iterator[Target]:
    """Files of the cache: what is damaged in them is made again, so that nothing is refused."""
    from lmtools.core.sqlite_store import KeyedTable

    path = folder / "table.sqlite"
    rows = [(bytes([number]) * 32, bytes(range(number, number + 64))) for number in range(20)]

    def table(_: Path) -> None:
        values = KeyedTable(path, "tests").read([key for key, _ in rows])
        if any(values.get(key, value) != value for key, value in rows):
            raise AssertionError("a damaged value was read")
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    KeyedTable(path, "tests").write(rows)
    yield Target("cache of values", [path.read_bytes()], from_file(path, table), 2)


def artefact_targets(folder: Path) -> Iterator[Target]:
    """Every file of a run that a command reads."""
    with _cache(folder):
        runs = make_runs(folder / "runs")
    from lmtools.ats.api import model_settings
    from lmtools.ats.artefact import find_head, load_baselines, load_head
    from lmtools.core.journal import Journal
    from lmtools.core.manifest import read_manifest
    from lmtools.core.results import read_results
    from lmtools.core.run import RECIPE, started_with
    from lmtools.core.stored import read_lines
    from lmtools.core.tracking import read_curves
    from lmtools.hyre.adapt import read_weights
    from lmtools.hyre.ensemble import ensemble_digest, load_ensemble
    from lmtools.hyre.reward import trained_recipe
    from lmtools.leret.prompts import read_prompts
    from lmtools.report.page import write_report

    def of(path: Path, read: Callable[[Path], object], share: float = 3.0) -> Target:
        name = f"artefact {path.relative_to(folder / 'runs')}"
        return Target(name, [path.read_bytes()], from_file(path, read), share)

    def journal(path: Path) -> None:
        Journal(path, writable=False).close()

    hyre, ats, leret, adapted = (runs[name] for name in ("hyre", "ats", "leret", "adapt"))
    head, ensemble = find_head(ats), hyre / "ensemble"
    yield from cache_targets(folder)
    digest = ensemble_digest(ensemble)
    yield of(hyre / "metrics.json", read_results, 5)
    yield of(hyre / "manifest.json", read_manifest, 5)
    yield of(leret / "manifest.json", lambda path: started_with(path.parent, "seed: 0\n", {}, 0), 3)
    yield of(leret / RECIPE, lambda path: started_with(path.parent, "seed: 0\n", {}, 0), 0.3)
    yield of(leret / "journal.jsonl", journal, 5)
    yield of(hyre / "training.jsonl", read_curves, 5)
    prompt = {"id": "few-shot 1", "demonstrations": [{"question": "Who?", "passages": [], "query": "She"}]}
    (leret / "prompts.json").write_text(json.dumps({"first": [prompt], "later": [prompt]}))
    yield of(leret / "prompts.json", read_prompts, 3)
    for name in ("samples.jsonl", "sft.jsonl", "preferences.jsonl"):
        lines_of = leret / "iterations" / "1" / name
        yield of(lines_of, lambda path: list(read_lines(path, dict, "resume the run")), 1)
    yield of(hyre / RECIPE, lambda _: trained_recipe(hyre), 0.3)
    yield of(ats / RECIPE, lambda _: model_settings(ats), 0.3)
    yield of(adapted / "weights.json", lambda path: read_weights(path, digest, 4), 5)
    for file in sorted(ensemble.glob("ensemble.*")):
        yield of(file, lambda _: load_ensemble(ensemble), 2)
    for file in sorted(head.glob("head.*")):
        yield of(file, lambda _: load_head(head), 1)
    for file in (ats / "baselines.json", ats / "vector.safetensors"):
        if file.is_file():
            yield of(file, lambda _: load_baselines(ats), 1)
    for run in runs.values():
        for file in sorted(
            path for path in run.rglob("*") if path.suffix in (".json", ".jsonl", ".yaml", ".npz")
        ):
            if file.parent in (run, run / "measured", run / "traces", run / "iterations" / "1"):
                target = of(file, lambda _, r=run: write_report([r], folder / "page.html"), 0.02)
                yield replace(target, name=f"page of {file.relative_to(folder / 'runs')}")
