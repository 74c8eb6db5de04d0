"""The fuzz driver: mutated inputs for every reader, recipe, reply and artefact, in turn.

    python tests/fuzz/drive.py                        1,000,000 inputs, about an hour
    python tests/fuzz/drive.py --inputs 20000 --only recipe --seed 3

An input may be read, or be refused by an ``LmtoolsError``. Any other exception is a fault, and so is an
input that takes longer than ``SECONDS``, or that makes the process grow by ``GROWTH`` or beyond ``MEMORY``.
Faulty inputs are kept in the folder `fuzz-faults`; `--again FILE` reads one of them once more.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from fuzz.mutate import mutated  # noqa: E402
from fuzz.targets import Target, targets  # noqa: E402

from lmtools.core.errors import LmtoolsError  # noqa: E402

SECONDS = 10
"""Of one input."""
MEMORY, GROWTH = 2**30, 2**28
"""Bytes of the process, and bytes that one input may add."""


class Hang(BaseException):
    """An input took too long."""


@dataclass
class Outcome:
    """What came of the inputs of one target."""

    inputs: int = 0
    read: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)


@contextmanager
def watched() -> Iterator[None]:
    """Raise ``Hang`` in what takes too long."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak() -> int:
    """The most memory that the process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attempt(target: Target, data: bytes) -> tuple[bool, str]:
    """Whether the input was read, and the fault, as the place where it was raised, if it is one."""
    before = peak()
    try:
        with watched():
            target.read(data)
        fault, good = "", True
    except LmtoolsError as error:
        fault, good = "" if error.message and "internal" not in error.message else f"a bare {error!r}", False
    except Hang:
        fault, good = "hangs", False
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/lmtools/" in f.filename] or [None]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames[-1] else "?"
        fault, good = f"{type(error).__name__} at {place}", False
    after = peak()
    if not fault and after > max(before + GROWTH, MEMORY):
        fault = f"grew by {(after - before) >> 20} MiB to {after >> 20}"
    return good, fault


def drive(
    chosen: Sequence[Target], inputs: int, seed: int = 0, folder: Path | None = None, log: bool = False
) -> dict[str, Outcome]:
    """Mutated inputs for each target by its share; faulty ones go to ``folder``, the first of each kind."""
    outcomes = {target.name: Outcome() for target in chosen}
    whole = sum(target.share for target in chosen)
    for target in chosen:
        outcome, chance = outcomes[target.name], random.Random(f"{seed} {target.name}")
        start = time.process_time()
        for _ in range(max(1, round(inputs * target.share / whole))):
            data = mutated(chance.choice(target.seeds), chance)
            good, fault = attempt(target, data)
            outcome.inputs += 1
            outcome.read += good
            if fault:
                outcome.faults[fault] += 1
                if folder is not None and outcome.faults[fault] == 1:
                    folder.mkdir(parents=True, exist_ok=True)
                    place = "".join(c if c.isalnum() else "-" for c in f"{target.name} {fault}")
                    (folder / place).write_bytes(data)
        outcome.seconds = time.process_time() - start
        if log:
            per_second = outcome.inputs / max(outcome.seconds, 1e-9)
            print(f"{target.name:32} {outcome.inputs:8,} {outcome.read / outcome.inputs:6.1%} read "
                  f"{per_second:8,.0f}/s  {dict(outcome.faults) or ''}", flush=True)  # fmt: skip
    return outcomes


def main() -> int:
    """Read the options, drive, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="targets with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"))
    parser.add_argument("--again", type=Path, help="read this file by the target that --only names")
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        chosen = [target for target in targets(Path(name)) if options.only in target.name]
        if options.again:
            chosen[0].read(options.again.read_bytes())
            return 0
        start = time.monotonic()
        outcomes = drive(chosen, options.inputs, options.seed, options.faults, log=True)
    count = sum(outcome.inputs for outcome in outcomes.values())
    faults = sum(sum(outcome.faults.values()) for outcome in outcomes.values())
    summary = {"inputs": count, "targets": len(outcomes), "faults": faults, "peak_mib": peak() >> 20,
               "seconds": round(time.monotonic() - start), "seed": options.seed,
               "by_target": {name: {"inputs": o.inputs, "read": o.read, "faults": dict(o.faults)}
                             for name, o in outcomes.items()}}  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(summary, indent=2) + "\n")
    print({key: value for key, value in summary.items() if key != "by_target"})
    return 1 if faults or peak() > MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
