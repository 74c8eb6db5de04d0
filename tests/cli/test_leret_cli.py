"""``lmtools leret``: what each command refuses before any work, and what it says to do next."""

import pytest

from lmtools.cli.app import run


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["eval"], ["search", "Who?"]])
def test_a_policy_must_be_a_training_run(empty_folder, capsys, command):
    (empty_folder / "mine").mkdir()
    for folder in ("mine", "nowhere"):
        assert run(["leret", *command, "--policy", folder]) == 2
        error = capsys.readouterr().err
        what = "no such directory" if folder == "nowhere" else "holds no trained policy"
        assert f"{folder}: {what}" in error
        assert "name a run of `lmtools leret train`" in error


@pytest.mark.parametrize("command", [["eval"], ["search", "Who?"]])
def test_without_a_policy_there_must_be_a_last_run(capsys, command):
    assert run(["leret", *command]) == 2
    assert "no trained policy under runs/" in capsys.readouterr().err


def test_explore_says_how_its_pairs_are_loaded(empty_folder, tiny_llama, capsys):
    small = ["data.train_limit=6", "data.test_limit=1", "hop.max_query_tokens=120"]
    small += ["explore.first=[question]", "explore.later=[phrase, question]"]
    small += ["train.preference.explorers=null"]
    settings = [word for setting in small for word in ("--set", setting)]
    assert run(["leret", "explore", "--model", str(tiny_llama), *settings]) == 0
    assert "trl sft or trl dpo with --dataset_name runs/leret-explore" in capsys.readouterr().err
    import datasets

    loaded = datasets.load_dataset("runs/leret-explore", "preferences", split="train")
    assert set(loaded.column_names) >= {"prompt", "chosen", "rejected"}
