"""The crash campaign: resumable commands, interrupted at random moments, must end in the bytes of a calm run.

    python tests/crash/campaign.py                        200 interruptions, about half an hour on two cores
    python tests/crash/campaign.py --only hyre --seed 7

Each trial begins in an empty folder with an empty cache. It is interrupted two to six times: by SIGINT,
SIGTERM or SIGKILL at a moment drawn from the time that the command takes, by a disk that is full at a size
drawn from what the command writes (a small tmpfs over run and cache; needs root), or by a limit on the size
of files (`ulimit -f`). Then the same command with `--resume` must end well, with every file of the bytes
that it has in a run left alone. Models are tiny; the processes are forked from one that has the libraries.

Left out of the comparison: `report.html` and the logs of trainers, which tell times, and in manifests what
the clock decides.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import pytest  # noqa: E402
import quiz  # noqa: E402
import small_world  # noqa: E402
import tiny  # noqa: E402
import tiny_fit  # noqa: E402
import tiny_hyre  # noqa: E402
from apart import command, fork_server  # noqa: E402

SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
DISK, FILE = "full disk", "ulimit -f"
KINDS = (*SIGNALS, DISK, FILE)
CLOCK = ("started", "finished", "resumed", "stages", "processor")
SKIPPED = ("report.html", ".lock", "sft.log.jsonl", "policy.log.jsonl")
FAILURES = ("Traceback (most recent call last)", "internal error")
SWALLOWED = "Exception ignored in"
"""What Python says where a signal meets it inside a callback that can raise nothing: the run then goes on."""
STOPPED = 130
PATIENCE = 300.0


@dataclass(frozen=True)
class Scenario:
    """A command line whose run directory is ``run``; ``{W}`` stands for the folder of what it works on."""

    name: str
    line: str

    def words(self, inputs: Path) -> list[str]:
        """The command line, resumable however often it is called."""
        return [*(word.replace("{W}", str(inputs)) for word in self.line.split()), "--out", "run", "--resume"]


ASK = "--set chat=true --task {W}/towns.jsonl --task {W}/short.jsonl --set resamples=100"
QUICKSTART = (
    "data.train_limit=3 data.test_limit=1 hop.max_query_tokens=100 explore.first=[question] "
    "explore.later=[phrase,question] train.sft.batch_size=2 train.preference.enabled=false "
    "eval.policies=[sft,question] eval.resamples=100 ats.data.limit=10 ats.compare=[scalar] "
    "ats.resamples=100 "
    "calibration.tasks=[atlas-short] calibration.limit=4 calibration.resamples=100 hyre.data.train_limit=20 "
    "hyre.data.target_limit=12 hyre.features.layers=[-1] hyre.features.max_tokens=100 "
    'hyre.heads=[{"source":"pca","count":4}] '
    "hyre.compare=[] hyre.eval.examples=[0,5] hyre.eval.draws=2 hyre.eval.active=[] hyre.eval.resamples=100"
)
SCENARIOS = (
    Scenario("leret train", "leret train --recipe {W}/world/recipe.yaml"),
    Scenario("leret explore", "leret explore --recipe {W}/world/recipe.yaml"),
    Scenario("leret eval", "leret eval --policy {W}/leret"),
    Scenario("hyre train", "hyre train --recipe {W}/hyre.yaml"),
    Scenario("hyre eval", "hyre eval {W}/hyre"),
    Scenario("hyre eval, trained first", "hyre eval --recipe {W}/hyre.yaml"),
    Scenario("hyre adapt", "hyre adapt --run {W}/hyre"),
    Scenario("ats fit", "ats fit --recipe {W}/ats.yaml"),
    Scenario("ats eval", f"ats eval {{W}}/ats {ASK}"),
    Scenario("eval calibration", f"eval calibration --model {{W}}/model --set chunk=3 {ASK}"),
    Scenario("eval reward", "eval reward --run {W}/hyre --pairs {W}/targets.jsonl --set resamples=100"),
    Scenario(
        "quickstart", f"quickstart --model {{W}}/model {' '.join(f'--set {s}' for s in QUICKSTART.split())}"
    ),
)


# What the commands work on, and processes


def prepare(folder: Path) -> None:
    """A tiny model, data and recipes for every scenario."""
    folder.mkdir(parents=True)
    model = tiny.save_tiny_llama(folder / "model")
    small_world.write_recipe(folder / "world", model, {"train.save_steps": 1, "explore.chunk": 1})
    tiny_hyre.recipe_file(tiny_hyre.tiny_recipe(model, folder), folder / "hyre.yaml")
    tiny_hyre.recipe_file(tiny_fit.tiny_recipe(model, folder), folder / "ats.yaml")
    for name, records in {"towns": quiz.choice_records(), "short": quiz.answer_records()}.items():
        tiny_hyre.write(folder / f"{name}.jsonl", records)


class Bench:
    """Where trials run, one after the other: the folder is the same for all, since artefacts may name it."""

    def __init__(self, folder: Path, server: object) -> None:
        self.inputs, self.folder, self.log = folder / "inputs", folder / "trial", folder / "log"
        self._server, self._mounted = server, False

    def clear(self) -> None:
        """An empty folder."""
        self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.log.write_text("")

    def mount(self, size: int) -> None:
        """Make the folder a disk of so many bytes, or another size of it where it is one."""
        options = f"remount,size={size}" if self._mounted else f"size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "lmtools-crash", self.folder], check=True)
        self._mounted = True

    def unmount(self) -> None:
        """Give the disk back."""
        if self._mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)
        self._mounted = False

    def run(
        self,
        words: list[str],
        *,
        number: str = "",
        after: float = 0.0,
        file_size: int = resource.RLIM_INFINITY,
    ) -> tuple[int, float]:
        """The exit code of a command line in the folder, negative by a signal, and the seconds it took.

        Args:
            number: the signal that it is sent ``after`` so many seconds, if it runs that long.
        """
        environment = {"LMTOOLS_CACHE": str(self.folder / "cache"), "LMTOOLS_DTYPE": "float32"}
        start = time.monotonic()
        process = command(self._server, words, self.log, environment, file_size, self.folder)
        process.join(after if number else PATIENCE)
        if process.is_alive() and number:
            with suppress(ProcessLookupError):
                os.kill(process.pid, getattr(signal, number))
            process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            raise RuntimeError(f"{words}: hangs\n{self.log.read_text()}")
        return process.exitcode, time.monotonic() - start

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file of the run, without what the clock decides."""
        files = [path for path in sorted((self.folder / "run").rglob("*")) if path.is_file()]
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(content(path)).hexdigest()
            for path in files
            if path.name not in SKIPPED
        }

    def used(self) -> int:
        """Bytes of the disk that are taken, whole pages."""
        return shutil.disk_usage(self.folder).used + 2**14

    def size(self) -> int:
        """Bytes in the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def content(path: Path) -> bytes:
    """A file's bytes; of a manifest those that the clock leaves alone."""
    if path.name != "manifest.json":
        return path.read_bytes()
    value = json.loads(path.read_text())
    return json.dumps({key: item for key, item in value.items() if key not in CLOCK}).encode()


# Trials


@dataclass(frozen=True)
class Alone:
    """A run that was left alone."""

    digests: Mapping[str, str]
    seconds: float
    size: int
    largest: int


def left_alone(bench: Bench, words: list[str]) -> Alone:
    """The run that all others must equal."""
    bench.clear()
    code, seconds = bench.run(words)
    if code != 0:
        raise RuntimeError(f"{' '.join(words)}: exit code {code}\n{bench.log.read_text()}")
    largest = max(path.stat().st_size for path in bench.folder.rglob("*") if path.is_file())
    return Alone(bench.digests(), seconds, bench.size(), largest)


def interrupt(
    bench: Bench, words: list[str], kind: str, alone: Alone, chance: random.Random
) -> tuple[bool, str]:
    """One interruption: whether it struck before the end, and what was wrong with how the command took it."""
    before = len(bench.log.read_text())
    if kind in SIGNALS:
        code, _ = bench.run(words, number=kind, after=chance.uniform(0.05, 0.8) * alone.seconds)
        # By the signal itself where the process was not yet there to answer.
        expected = (0, -getattr(signal, kind), STOPPED)[: 2 if kind == "SIGKILL" else 3]
    elif kind == FILE:
        code, _ = bench.run(words, file_size=int(alone.largest * chance.uniform(0.001, 0.9)))
        expected = (1, 0)
    else:
        bench.mount(bench.used() + int(alone.size * chance.uniform(0.0, 0.9)))
        code, _ = bench.run(words)
        bench.mount(8 * alone.size + 2**24)
        expected = (1, 0)
    told = bench.log.read_text()[before:]
    signs = () if SWALLOWED in told else FAILURES
    wrong = next((sign for sign in signs if sign in told), "")
    if code not in expected:
        wrong = f"exit code {code}"
    return code != 0, f"{kind}: {wrong}\n{told[-2000:]}" if wrong else ""


def trial(
    bench: Bench, words: list[str], alone: Alone, chance: random.Random, kinds: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """The interruptions of one trial that struck, and its faults."""
    bench.clear()
    struck, faults = [], []
    drawn = [chance.choice(kinds) for _ in range(chance.randint(2, 6))]
    if DISK in drawn:
        bench.mount(8 * alone.size + 2**24)  # one disk from the first to the last
    for kind in drawn:
        early, fault = interrupt(bench, words, kind, alone, chance)
        struck += [kind] * early
        faults += [fault] * bool(fault)
    code, _ = bench.run(words)
    if code != 0:
        faults.append(f"after {drawn}: resumed with exit code {code}\n{bench.log.read_text()[-2000:]}")
    elif (digests := bench.digests()) != alone.digests:
        names = sorted(
            name for name in {*digests, *alone.digests} if digests.get(name) != alone.digests.get(name)
        )
        faults.append(f"after {drawn}: other bytes in {', '.join(names)}")
    return struck, faults


def campaign(folder: Path, interruptions: int, only: str, seed: int) -> dict[str, object]:
    """Trials of every scenario in turn until so many interruptions have struck; what came of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        patch.setenv("LMTOOLS_DTYPE", "float32")
        bench = Bench(folder, fork_server(patch))
        prepare(bench.inputs)
        kinds = KINDS if os.geteuid() == 0 else tuple(kind for kind in KINDS if kind != DISK)
        words = {s.name: s.words(bench.inputs) for s in SCENARIOS if only in s.name}
        alone: dict[str, Alone] = {}
        for name, trained in {"leret train": "leret", "hyre train": "hyre", "ats fit": "ats"}.items():
            whole = next(s for s in SCENARIOS if s.name == name).words(bench.inputs)
            alone[name] = left_alone(bench, whole)
            shutil.copytree(bench.folder / "run", bench.inputs / trained)
        for name, line in words.items():
            alone[name] = left_alone(bench, line)
            print(f"{name}: {alone[name].seconds:.1f} s, {alone[name].size:,} bytes", flush=True)
        chance, counts, faults, trials = random.Random(seed), Counter(), [], Counter()
        try:
            while sum(counts.values()) < interruptions:
                for name, line in words.items():
                    struck, wrong = trial(bench, line, alone[name], chance, kinds)
                    trials[name] += 1
                    counts.update((name, kind) for kind in struck)
                    faults += [f"{name}: {fault}" for fault in wrong]
                    print(
                        f"{sum(counts.values())} {name}: {struck} {'; '.join(wrong) or 'identical'}",
                        flush=True,
                    )
        finally:
            bench.unmount()
    table = {name: {kind: counts[name, kind] for kind in KINDS} | {"trials": trials[name]} for name in words}
    return {"interruptions": sum(counts.values()), "trials": sum(trials.values()), "seed": seed,
            "faults": faults, "commands": table}  # fmt: skip


def main() -> int:
    """Read the options, run, print and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interruptions", type=int, default=200)
    parser.add_argument("--only", default="", help="commands with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("crash"), help="an empty folder to work in")
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    outcome = campaign(options.folder.absolute(), options.interruptions, options.only, options.seed)
    text = json.dumps(outcome, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    return 1 if outcome["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
