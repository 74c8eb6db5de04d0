"""A run killed with SIGKILL again and again ends in the same bytes as one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time

SCRIPT = """
import sys, time
from pathlib import Path
from lmtools.core.config import Config
from lmtools.core.files import write_jsonl
from lmtools.core.results import Row
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.intervals import mean_interval

class Toy(Config):
    units: int = 60

with Run.create(Path(sys.argv[1]), Toy(), command=["toy"], inputs={"a": "00"}, resume=True, seed=5) as run:
    journal = run.journal()
    print("started", flush=True)
    with run.stage("explore"):
        for unit in range(60):
            if f"q{unit}" not in journal:
                time.sleep(float(sys.argv[2]))
                journal.append(f"q{unit}", {"reward": derive(5, unit) % 100 / 100, "query": "x" * unit})
    samples = [journal.get(f"q{unit}") for unit in range(60)]
    write_jsonl(run.path("samples.jsonl"), samples)
    rewards = mean_interval([sample["reward"] for sample in samples])
    run.finish(run.results("toy", [Row("all", {"reward": rewards})]))
"""

FILES = ("recipe.yaml", "journal.jsonl", "samples.jsonl", "metrics.json")


def test_killed_at_random_moments_it_resumes_to_the_same_bytes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    subprocess.run([sys.executable, script, alone, "0"], check=True, capture_output=True)
    chance = random.Random(0)
    kills = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, script, killed, "0.003"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if chance.random() < 0.75:
            child.stdout.readline()
        time.sleep(chance.uniform(0, 0.12))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills > 0
    subprocess.run([sys.executable, script, killed, "0"], check=True, capture_output=True)
    for name in FILES:
        assert (killed / name).read_bytes() == (alone / name).read_bytes(), name
    assert not [name for name in os.listdir(killed) if name.endswith(".part")]
