"""Several processes of one run, as `accelerate launch` and `torchrun` start them."""

import json
import socket

from apart import command, fork_server


def two(context, arguments, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    logs = [folder / "rank0", folder / "rank1"]
    processes = [
        command(context, arguments, log, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.join(240)
    texts = [log.read_text() for log in logs]
    assert [process.exitcode for process in processes] == [0, 0], "\n".join(texts)
    return texts


def test_two_processes_make_one_run(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = fork_server(monkeypatch)
    recipe = str(tiny_recipe({"train.save_steps": 1, "eval.policies": ["question", "sft", "trained"]}))
    first, second = two(context, ["leret", "train", "--recipe", recipe, "--json"], tmp_path)
    run = tmp_path / "runs/leret-train"  # without --out they agree on a directory
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["leret-train"]
    assert (run / "policy/adapter_model.safetensors").exists()
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["question-as-query", "SFT", "SFT + preference"]
    assert '"run": "runs/leret-train"' in first
    assert '"run"' not in second  # one JSON object, from the first process
    # each process saw half of the batches: 5 steps of two examples are 3 of twice two
    history = [json.loads(line) for line in (run / "iterations/1/sft.log.jsonl").read_text().splitlines()]
    assert history[-1]["step"] == 3
    two(context, ["leret", "explore", "--recipe", recipe, "--out", "explored"], tmp_path)
    for name in ("samples.jsonl", "preferences.jsonl"):
        assert (tmp_path / "explored" / name).read_bytes() == (run / name).read_bytes()
