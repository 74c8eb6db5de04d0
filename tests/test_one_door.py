"""Every command and the function behind it make the same files."""

import json
import re
from pathlib import Path

import pytest
from quiz import answer_records, choice_records, write_lines
from small_world import write_recipe
from tiny_fit import tiny_recipe as tiny_ats
from tiny_hyre import records, write
from tiny_hyre import tiny_recipe as tiny_hyre

from lmtools.ats import api as ats
from lmtools.core.recipe import dump_recipe
from lmtools.hyre import api as hyre
from lmtools.leret import api as leret

VARIES = {"command", "started", "finished", "resumed", "stages", "processor", "time", "seconds", "date"}
"""Keys of JSON files whose values tell when a run was made, how long it took, and what was typed."""
CLOCK = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.\d]*)?(\+00:00|Z| UTC)?")


def masked(value):
    """JSON without what varies from one run to the next."""
    if isinstance(value, dict):
        return {key: None if key in VARIES else masked(inner) for key, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value


def content(path, folder):
    """A file of a run for comparison; the run's own directory has one name in all of them."""
    data = path.read_bytes().replace(str(folder).encode(), b"RUN").replace(folder.name.encode(), b"RUN")
    if path.suffix == ".json":
        return masked(json.loads(data))
    if path.name.endswith(".log.jsonl"):
        return [masked(json.loads(line)) for line in data.splitlines()]
    return CLOCK.sub(b"TIME", data)


def files(folder):
    """Every file of a run that is a result: no locks, and the page apart."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "report.html")
    }


def test_of_the_masks(tmp_path):
    (tmp_path / "a.json").write_text('{"command": ["x"], "rows": [{"value": 1}]}')
    (tmp_path / "b.json").write_text('{"command": ["y"], "rows": [{"value": 2}]}')
    assert content(tmp_path / "a.json", tmp_path) != content(tmp_path / "b.json", tmp_path)


def assert_same_run(left: Path, right: Path) -> None:
    """The same files with the same content, and a page in both or in neither."""
    ours, theirs = files(left), files(right)
    assert ours.keys() == theirs.keys()
    assert "metrics.json" in ours
    for name in ours:
        assert content(ours[name], left) == content(theirs[name], right), name
    assert (left / "report.html").is_file()
    assert (right / "report.html").is_file()


@pytest.fixture(scope="module")
def world(tiny_llama, tmp_path_factory):
    """Recipes that take seconds, and a finished run of each system to work on."""
    folder = tmp_path_factory.mktemp("door")
    write_recipe(folder / "world", tiny_llama, {"hop.max_query_tokens": 16})
    (folder / "leret.yaml").write_text((folder / "world" / "recipe.yaml").read_text())
    (folder / "hyre.yaml").write_text(dump_recipe(tiny_hyre(tiny_llama, folder)))
    (folder / "ats.yaml").write_text(
        dump_recipe(tiny_ats(tiny_llama, folder, train={"epochs": 1}, head={"kind": "linear"}))
    )
    write_lines(folder / "choices.jsonl", choice_records(6))
    write_lines(folder / "answers.jsonl", answer_records(4))
    write(folder / "pairs.jsonl", records("long", 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        leret.run_training("leret.yaml", "trained/leret")
        hyre.run_training("hyre.yaml", "trained/hyre")
        ats.run_fit("ats.yaml", "trained/ats")
    return folder
