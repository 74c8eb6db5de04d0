"""Shell completion, asked as bash, zsh and fish ask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from imported import HEAVY, modules_after

from lmtools.cli.app import MEMBERS, run
from lmtools.cli.completion import joined

BIN = Path(sys.executable).parent
RECIPE = "seed: 1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with runs of every kind, and files."""
    for mark in (
        "runs/leret-train/policy/adapter_config.json",
        "runs/leret-eval/metrics.json",
        "runs/ats-fit/head/head.json",
        "runs/hyre-train/ensemble/ensemble.json",
        "runs/hyre-adapt/weights.json",
        "runs/quickstart/policy/adapter_config.json",
        "runs/quickstart/ats/head/head.json",
        "runs/quickstart/hyre/ensemble/ensemble.json",
        "runs/quickstart/hyre-weights/short.json",
        "runs/with space/policy/adapter_config.json",
        "elsewhere/mine/policy/adapter_config.json",
        "left.yaml",
    ):
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).write_text("{}")
    for pattern in ("runs/*", "runs/quickstart/ats", "runs/quickstart/hyre", "elsewhere/*"):
        for made in tmp_path.glob(pattern):
            (made / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def complete(capsys, monkeypatch):
    """What bash is answered for the words after ``lmtools``, the last of which is being completed."""

    def ask(*words):
        monkeypatch.setenv("_LMTOOLS_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["lmtools", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert run([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out.split("\n")[:-1]

    return ask


def test_commands(complete):
    assert complete("") == [name for name, member in MEMBERS.items() if member.exists()]
    assert complete("re") == ["report", "recipes"]
    assert complete("leret", "") == ["train", "explore", "eval", "search"]
    assert complete("recipes", "s") == ["show", "schema"]


def test_options_and_choices(complete):
    assert {"--recipe", "--resume"} <= set(complete("leret", "train", "--re"))
    assert complete("hyre", "adapt", "--exa") == ["--examples"]
    assert complete("generate", "--best") == ["--best-of"]
    assert complete("leret", "train", "--backend", "") == ["hf", "vllm", "server"]
    assert complete("hyre", "query", "--by", "b") == ["bald"]
    assert complete("recipes", "schema", "cal") == ["calibration"]
    assert complete("data", "prepare", "x", "--to", "q") == ["questions"]


def test_recipes_are_those_of_the_command(complete, folder):
    assert complete("leret", "train", "--recipe", "leret/h") == ["leret/hotpotqa", "leret/hover"]
    assert all(name.startswith("hyre/") for name in complete("hyre", "train", "--recipe", "h"))
    assert complete("eval", "reward", "--recipe", "h") == ["hyre/reward"]
    assert "calibration/paper" in complete("ats", "eval", "--recipe", "")
    assert "ats/alpaca" in complete("ats", "fit", "--recipe", "")
    # Files beside the names; where there are no names the shell completes files itself.
    assert complete("leret", "train", "--recipe", "le")[-1] == "left.yaml"
    assert complete("leret", "train", "--recipe", "lef") == []


@pytest.mark.parametrize("command", [["show"], ["copy"], ["check"], ["check", "ats/alpaca"]])
def test_recipes_of_all_systems(complete, folder, command):
    assert {"ats/quickstart", "leret/paper", "left.yaml"} <= set(complete("recipes", *command, ""))


def test_models(complete):
    assert complete("leret", "train", "--model", "b") == ["builtin:smollm2-135m-instruct"]
    assert complete("models", "pull", "") == ["builtin:smollm2-135m-instruct", "builtin:all-minilm-l6-v2"]
    # As bash cuts the word: it completes what is behind the colon alone.
    assert complete("leret", "train", "--model", "builtin", ":", "smo") == ["smollm2-135m-instruct"]
    assert complete("models", "pull", "builtin", ":") == ["smollm2-135m-instruct", "all-minilm-l6-v2"]
    assert complete("leret", "train", "--model", "=", "builtin", ":", "s") == ["smollm2-135m-instruct"]
    assert complete("leret", "train", "--recipe", "=", "leret/ho") == ["leret/hotpotqa", "leret/hover"]
    # And with `:` taken out of COMP_WORDBREAKS.
    assert complete("models", "pull", "builtin:s") == ["builtin:smollm2-135m-instruct"]
    assert complete("leret", "train", "--model", "meta-llama/") == []


def test_tasks(complete):
    assert complete("eval", "calibration", "--task", "truth") == ["truthfulqa", "truthfulqa-free"]


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["leret", "search", "'a question'", "--policy"], ["runs/leret-train", "runs/quickstart"]),
        (["ats", "eval"], ["runs/ats-fit", "runs/quickstart/ats"]),
        (["ats", "export"], ["runs/ats-fit", "runs/quickstart/ats"]),
        (["eval", "calibration", "--head"], ["runs/ats-fit", "runs/quickstart/ats"]),
        (["generate", "--calibrated"], ["runs/ats-fit", "runs/quickstart/ats"]),
        (["hyre", "eval"], ["runs/hyre-train", "runs/quickstart/hyre"]),
        (["hyre", "adapt", "--run"], ["runs/hyre-train", "runs/quickstart/hyre"]),
        (["generate", "--reward"], ["runs/hyre-train", "runs/quickstart/hyre"]),
        (["hyre", "score", "--weights"], ["runs/hyre-adapt", "runs/quickstart/hyre-weights/short.json"]),
    ],
)
def test_a_run_is_one_that_has_what_is_asked_for(complete, folder, words, runs):
    assert complete(*words, "") == runs
    assert complete(*words, "runs/q") == [one for one in runs if one.startswith("runs/q")]


def test_a_report_takes_every_run_and_several(complete, folder):
    shown = complete("report", "")
    assert {"runs/leret-eval", "runs/ats-fit", "runs/quickstart/ats"} <= set(shown)
    assert "runs/leret-eval" in complete("report", "runs/ats-fit", "runs/leret")
    assert not any(" " in one for one in shown)  # the shell completes, and quotes, such names itself


def test_runs_where_the_word_points(complete, folder):
    assert complete("leret", "eval", "--policy", "elsewhere/") == ["elsewhere/mine"]
    assert complete("leret", "eval", "--policy", "else") == ["elsewhere/mine"]
    assert complete("leret", "eval", "--policy", "./runs/l") == ["./runs/leret-train"]
    assert complete("leret", "eval", "--policy", "*") == []


def test_no_folder_of_runs_is_no_fault(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complete("ats", "eval", "") == []


def test_a_fault_stays_silent(capsys, monkeypatch):
    monkeypatch.setenv("_LMTOOLS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "lmtools\nleret\n")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setattr("lmtools.cli.app.Member.load", lambda *_: 1 / 0)
    assert run([]) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_are_told_what_each_is(shell, capsys, monkeypatch, folder):
    monkeypatch.setenv("_LMTOOLS_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "lmtools leret train --recipe leret/hov")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert "leret/hover" in shown
    assert "HoVer with the built-in model" in shown


def test_fish_learns_whether_to_complete_files(capsys, monkeypatch, folder):
    monkeypatch.setenv("_LMTOOLS_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    for line, code in (("lmtools models pull ", 0), ("lmtools data check ", 1)):
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        assert run([]) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "words", [["leret", "train", "--recipe", ""], ["report", ""], ["models", "pull", ""], ["generate", "--"]]
)
def test_an_answer_loads_no_model_library(words):
    line = "\n".join(["lmtools", *words])
    given = {"_LMTOOLS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    loaded = modules_after(
        f"import os; os.environ.update({given!r})\nfrom lmtools.cli.app import run; run([])"
    )
    assert "lmtools.cli.completion" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("parts", "place", "whole"),
    [
        (["lmtools", "le"], 1, (["lmtools", "le"], 1, "")),
        (["lmtools", "x", ""], 2, (["lmtools", "x", ""], 2, "")),
        (["lmtools", "a", ":", "b"], 3, (["lmtools", "a:b"], 1, "a:")),
        (["lmtools", "a", ":", "b", ":", "c"], 5, (["lmtools", "a:b:c"], 1, "a:b:")),
        (["lmtools", "a", ":"], 2, (["lmtools", "a:"], 1, "a:")),
        (["lmtools", "--set", "k", "=", "v"], 4, (["lmtools", "--set", "k=v"], 2, "k=")),
        (["lmtools", "--model", "=", "a", ":", "b"], 5, (["lmtools", "--model=a:b"], 1, "a:")),
        (["lmtools", "a", ":", "b", "c"], 4, (["lmtools", "a:b", "c"], 2, "")),
        (["lmtools", "a", "b", "c"], 2, (["lmtools", "a", "b"], 2, "")),
    ],
)
def test_words_that_bash_cut(parts, place, whole):
    assert joined(parts, place) == whole


def shell_script(shell):
    env = os.environ | {"_LMTOOLS_COMPLETE": f"source_{shell}"}
    return subprocess.run([BIN / "lmtools"], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(shell_script(shell))
    assert "_LMTOOLS_COMPLETE" in script.read_text()
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["leret", "tr"], ["train"]),
        (["leret", "train", "--model", "builtin", ":", "s"], ["smollm2-135m-instruct"]),
        (["ats", "eval", "runs/a"], ["runs/ats-fit"]),
    ],
)
def test_bash_itself(words, answers, folder):
    quoted = " ".join(f"'{word}'" for word in ["lmtools", *words])
    script = (
        f"{shell_script('bash')}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}\n"
        "_lmtools_completion lmtools\nprintf '%s\\n' \"${COMPREPLY[@]}\"; complete -p lmtools"
    )
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", script], env=env, capture_output=True, text=True)
    *shown, registered = done.stdout.splitlines()
    assert shown == answers, done.stderr
    assert registered == "complete -o default -F _lmtools_completion lmtools"


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_itself(folder):
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    script = f"{shell_script('fish')}\ncomplete -C 'lmtools models pull builtin:s'"
    done = subprocess.run(["fish", "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout.split("\t")[0].strip() == "builtin:smollm2-135m-instruct", done.stderr
