import os

import pytest

from lmtools.core.errors import MachineError
from lmtools.core.paths import cache_dir
from lmtools.retrieval.index_cache import build_folder, cached, content_key


def load(folder):
    return (folder / "value").read_text()


def building(text, calls):
    def build(folder):
        calls.append(text)
        (folder / "value").write_text(text)

    return build


def test_built_once_then_read():
    calls = []
    assert cached("x", building("one", calls), load) == "one"
    assert cached("x", building("two", calls), load) == "one"
    assert calls == ["one"]


def test_interrupted_build_leaves_nothing():
    def build(folder):
        (folder / "value").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("x", build, load)
    assert list(cache_dir("indexes").iterdir()) == []
    assert cached("x", building("whole", []), load) == "whole"


def test_remains_of_a_killed_build_are_ignored():
    remains = cache_dir("indexes") / ".x.abc.part"
    remains.mkdir(parents=True)
    (remains / "value").write_text("half")
    assert cached("x", building("whole", []), load) == "whole"


def test_damaged_folder_is_built_again():
    cached("x", building("one", []), load)
    (cache_dir("indexes", "x") / "value").unlink()
    assert cached("x", building("two", []), load) == "two"


def test_the_faster_process_wins(tmp_path):
    """Another process completes the same folder while this one builds."""
    folder = tmp_path / "x"

    def build(temporary):
        (temporary / "value").write_text("late")
        build_folder(folder, building("early", []))

    build_folder(folder, build)
    assert load(folder) == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_unwritable_cache_names_the_mend(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LMTOOLS_CACHE", str(blocked))
    with pytest.raises(MachineError, match="cannot write the index") as caught:
        cached("x", building("one", []), load)
    assert "LMTOOLS_CACHE" in caught.value.fix


def test_full_disk_leaves_nothing():
    def build(folder):
        (folder / "value").write_text("half")
        raise OSError(28, os.strerror(28))

    with pytest.raises(MachineError, match="No space left"):
        cached("x", build, load)
    assert list(cache_dir("indexes").iterdir()) == []


def test_key_depends_on_every_part_and_their_order():
    keys = {content_key("a", "b"), content_key("b", "a"), content_key("a"), content_key("a", "b", "c")}
    assert len(keys) == 4
