"""Every input of every command is looked at before a model is loaded or anything is trained."""

import json
from pathlib import Path

import pytest
from tiny_fit import run_fit
from tiny_fit import tiny_recipe as tiny_fit_recipe
from tiny_hyre import trained_once

from lmtools.cli.app import run

COMMANDS = [
    "leret train --set data.train=nope.jsonl --model TINY",
    "leret train --set data.test=nope.jsonl --model TINY",
    "leret train --set data.corpus=nope.jsonl --model TINY",
    "leret train --set model.adapter=nope --model TINY",
    "leret train --set retriever={kind:dense,encoder:nope} --model TINY",
    "leret eval --policy nope --model TINY",
    "leret search Who? --policy nope",
    "hyre train --set data.train=nope.jsonl --model TINY",
    "hyre train --set model.adapter=nope --model TINY",
    "hyre eval nope",
    "hyre eval RUN --set data.targets=nope.jsonl",
    "hyre adapt --run RUN --pairs nope.jsonl",
    "hyre adapt --run RUN --target nope",
    "hyre query --run RUN --pairs nope.jsonl",
    "hyre query --run RUN --weights nope",
    "hyre query --run RUN --output folder",
    "hyre score --run RUN --input nope.jsonl",
    "hyre score --run RUN --input answers.jsonl --weights nope",
    "hyre score --run RUN --input answers.jsonl --output folder",
    "ats fit --set data.train=nope.jsonl --model TINY",
    "ats eval nope",
    "ats eval FIT --task nope.jsonl",
    "ats export nope",
    "eval calibration --task nope.jsonl --model TINY",
    "eval calibration --head nope --model TINY",
    "eval calibration --head FIT --task nope.jsonl",
    "eval calibration --lm-eval-out answers.jsonl --model TINY",
    "eval reward --run RUN --pairs nope.jsonl",
    "eval reward --run RUN --weights nope",
    "eval reward --run nope",
    "generate --input nope.jsonl --model TINY",
    "generate --prompt Hello --output folder --model TINY",
    "generate --prompt Hello --calibrated nope",
    "generate --prompt Hello --best-of 2 --reward nope --weights nope --model TINY",
    "generate --prompt Hello --best-of 2 --reward RUN --weights nope --model TINY",
    "quickstart --set data.train=nope.jsonl --model TINY",
    "quickstart --set ats.data.train=nope.jsonl --model TINY",
    "quickstart --set calibration.tasks=[nope.jsonl] --model TINY",
    "quickstart --set hyre.data.train=nope.jsonl --model TINY",
    "quickstart --set hyre.data.targets=nope.jsonl --model TINY",
    "report nope",
]


@pytest.fixture(scope="module")
def runs(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run_fit(tiny_fit_recipe(tiny_llama, folder), folder / "fit")
    return {"RUN": trained_once(tiny_llama, folder)[1], "FIT": folder / "fit"}


@pytest.mark.parametrize("words", COMMANDS)
def test_what_cannot_be_read_or_written_is_told_of_before_any_weights_are_read(
    runs, tiny_llama, words, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("answers.jsonl").write_text(json.dumps({"prompt": "Why?", "completion": "So."}) + "\n")
    read = "transformers.PreTrainedModel.from_pretrained"
    monkeypatch.setattr(read, lambda *_, **__: pytest.fail("weights were read"))
    arguments = [str(runs.get(word, word)) for word in words.replace("TINY", str(tiny_llama)).split()]

    assert run(arguments) in (1, 2)

    told = capsys.readouterr().err
    assert "internal error" not in told
    assert any(name in told for name in ("nope", "folder:", "answers.jsonl"))
    assert not Path("runs").exists()
