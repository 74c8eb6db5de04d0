"""``lmtools quickstart``, with a tiny model and a few of the bundled questions for the built-in one."""

import json

import pytest

from lmtools.ats import measure as ats_measure
from lmtools.cli import quickstart as quickstart_module
from lmtools.cli.app import run
from lmtools.core import tracking
from lmtools.core.results import Results, Row
from lmtools.leret import api

CALIBRATED = Results(
    "calibration/quickstart", "lmtools", 0, {}, {}, (Row("uncalibrated", {}), Row("transformer", {}))
)

PERSONAL = Results("hyre/quickstart", "lmtools", 0, {}, {}, ())


@pytest.fixture
def quickstart(tmp_path, monkeypatch, tiny_llama):
    """``quickstart(*more)`` -> exit code, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    small = {
        "data.train_limit": 3,
        "data.test_limit": 1,
        "hop.max_query_tokens": 100,  # the questions, in bytes
        "explore.first": "[question]",
        "explore.later": "[phrase, question]",
        "train.sft.batch_size": 2,
        "train.preference.enabled": "false",
        "eval.policies": "[sft, question]",  # differences are those of SFT in any order
        "eval.resamples": 100,
        "ats.data.limit": 10,
        "ats.compare": "[scalar]",
        "ats.resamples": 100,
        "calibration.tasks": "[atlas-short]",  # in bytes, multiple choice with its examples is too long
        "calibration.limit": 4,
        "calibration.resamples": 100,
        "hyre.data.train_limit": 20,
        "hyre.data.target_limit": 12,
        "hyre.features.layers": "[-1]",
        "hyre.features.max_tokens": 100,
        "hyre.heads": "[{source: pca, count: 4}]",
        "hyre.compare": "[]",
        "hyre.eval.examples": "[0, 5]",
        "hyre.eval.draws": 2,
        "hyre.eval.active": "[]",
        "hyre.eval.resamples": 100,
    }
    settings = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    return lambda *more: run(["quickstart", "--model", str(tiny_llama), *settings, *more])


@pytest.fixture
def sent(monkeypatch):
    """What a tracker in trackio's place is sent: (part, step); None once it is closed."""
    found = []

    class Fake:
        def log(self, part, figures, step=None):
            found.append((part, step))

        def close(self):
            found.append(None)

    monkeypatch.setattr(tracking, "find_spec", lambda package: object())
    monkeypatch.setattr(tracking, "open_trackio", lambda tracked: Fake())
    return found


def test_it_trains_measures_and_says_how_to_go_on(quickstart, tmp_path, capsys, sent):
    assert quickstart("--json", "--track", "trackio") == 0
    # One tracker for all parts, each under its own name, open to the end.
    finals = [one[0] for one in sent[:-1] if one[0].endswith("metrics")]
    assert finals == ["ats/metrics", "ats-eval/metrics", "hyre/metrics", "hyre-eval/metrics", "metrics"]
    curves = {one[0] for one in sent[:-1]} - set(finals)
    assert {"SFT 1", "ats/transformer", "hyre/single head"} <= curves
    assert sent.index(None) == len(sent) - 1
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["run"] == "runs/leret-quickstart"
    assert answer["recipe"] == "leret/quickstart"
    assert [row["name"] for row in answer["rows"]] == ["SFT", "question-as-query"]
    assert {difference["a"] for difference in answer["differences"]} == {"SFT"}
    made = {path.name for path in (tmp_path / "runs/leret-quickstart").iterdir()}
    assert made >= {
        "recipe.yaml", "manifest.json", "metrics.json", "samples.jsonl", "sft.jsonl", "policy", "traces",
    }  # fmt: skip
    assert [row["name"] for row in answer["ats"]["rows"]] == [
        "uncalibrated", "scalar (selective smoothing)", "transformer",
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"leret-quickstart"}
    assert made >= {"ats", "ats-eval", "hyre", "hyre-eval", "hyre-weights"}
    names = {row["name"] for row in answer["hyre"]["rows"]}
    assert {"hyre/pca @0", "hyre/pca @5", "single-head @0", "mean-difference @5"} <= names
    personas = {path.stem for path in (tmp_path / "runs/leret-quickstart/hyre-weights").glob("*.json")}
    assert personas >= {"short", "thorough", "formal", "cautious"}
    for name in personas:
        assert f"{name}: " in err
    assert "% of pairs in this user's order with one reward model for all" in err
    [line] = [line for line in err.splitlines() if "--best-of 4" in line]
    assert "--reward runs/leret-quickstart/hyre" in line
    assert line.endswith("--weights runs/leret-quickstart/hyre-weights/short.json")
    assert "question-as-query, the strongest baseline" in err
    assert "atlas-short: confidence missed the share of right answers by" in err
    [line] = [line for line in err.splitlines() if "lmtools leret search" in line]
    assert line.endswith("--policy runs/leret-quickstart")


def test_interrupted_and_called_again_it_goes_on(quickstart, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api, "evaluate", stop)
        assert quickstart() == 130
    assert "continue with: lmtools quickstart" in capsys.readouterr().err
    assert quickstart() == 0
    assert "runs/leret-quickstart/ was interrupted: continuing it" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "runs/leret-quickstart/manifest.json").read_text())
    assert len(manifest["resumed"]) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["leret-quickstart"]


def test_interrupted_in_its_second_part_it_goes_on_there(quickstart, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ats_measure, "measure_tokens", stop)
        assert quickstart() == 130
    head = tmp_path / "runs/leret-quickstart/ats/head/head.safetensors"
    written = head.stat().st_mtime_ns
    assert quickstart() == 0
    assert head.stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["leret-quickstart"]


@pytest.mark.parametrize("place", ["lmtools.hyre.evaluate.draws", "lmtools.hyre.api.adapt_targets"])
def test_interrupted_in_its_third_part_it_goes_on_there(quickstart, tmp_path, capsys, monkeypatch, place):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "train", lambda setup, run, name: run.results(name, ()))
    monkeypatch.setattr(quickstart_module, "_calibrate", lambda *_: CALIBRATED)
    with monkeypatch.context() as patch:
        patch.setattr(place, stop)
        assert quickstart() == 130
    ensemble = tmp_path / "runs/leret-quickstart/hyre/ensemble/ensemble.safetensors"
    written = ensemble.stat().st_mtime_ns
    assert quickstart() == 0
    assert ensemble.stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["leret-quickstart"]
    assert (tmp_path / "runs/leret-quickstart/hyre-weights/short.json").is_file()


def test_another_recipe_is_another_run(quickstart, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "train", stop)
    assert quickstart() == 130
    assert quickstart("--seed", "1") == 130
    assert "continuing" not in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "leret-quickstart", "leret-quickstart-2",
    }  # fmt: skip


def test_a_named_directory_with_a_run_is_an_error(quickstart, capsys, monkeypatch):
    monkeypatch.setattr(api, "train", lambda setup, run, name: run.results(name, ()))
    monkeypatch.setattr(quickstart_module, "_calibrate", lambda *_: CALIBRATED)
    monkeypatch.setattr(quickstart_module, "_personalise", lambda *_: PERSONAL)
    assert quickstart("--out", "mine") == 0
    assert quickstart("--out", "mine") == 2
    assert "mine: holds a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["ats.loss.alpha=2", "calibration.limits=3", "hyre.adapt.temprature=1"])
def test_a_fault_in_a_later_part_is_told_before_the_first_begins(quickstart, tmp_path, capsys, setting):
    assert quickstart("--set", setting) == 2
    assert setting.partition(".")[2].partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"ats.head.kind": "linear"}, True), ({"calibration.methods": "[uncalibrated]"}, False)],
)
def test_what_it_says_is_of_the_methods_that_were_measured(quickstart, capsys, monkeypatch, settings, told):
    monkeypatch.setattr(api, "train", lambda setup, run, name: run.results(name, ()))
    monkeypatch.setattr(quickstart_module, "_personalise", lambda *_: PERSONAL)
    assert quickstart(*(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))) == 0
    assert ("missed the share of right answers" in capsys.readouterr().err) is told


def test_dry_run_writes_nothing(quickstart, tmp_path, capsys):
    assert quickstart("--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["questions"] == {"train": 3, "test": 1}
    assert plan["ats"]["instructions"] == 10
    assert plan["calibration"]["tasks"][0]["task"] == "atlas-short"
    assert plan["hyre"]["pairs"] == 20
    assert plan["hyre"]["targets"]["short"] == 12
    assert not (tmp_path / "runs").exists()
