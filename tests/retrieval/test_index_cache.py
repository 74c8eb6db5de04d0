import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from lmtools.core.errors import MachineError
from lmtools.core.files import cache_dir
from lmtools.retrieval.corpus import cached, content_key


def load(folder):
    return (folder / "value").read_text()


def folders():
    return [path.name for path in cache_dir("indexes").iterdir() if path.is_dir()]


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
    assert folders() == []
    assert cached("x", building("whole", []), load) == "whole"


def test_remains_of_a_killed_build_are_ignored():
    remains = cache_dir("indexes") / ".x.abc.part"
    remains.mkdir(parents=True)
    (remains / "value").write_text("half")
    assert cached("x", building("whole", []), load) == "whole"
    assert folders() == ["x"]


def test_remains_of_any_index_are_swept_unless_it_is_being_built():
    folder = cache_dir("indexes")
    for name in (".y.abc.part", ".busy.abc.part"):
        (folder / name).mkdir(parents=True)
    with FileLock(folder / ".busy.lock"):
        cached("x", building("one", []), load)
        assert sorted(folders()) == [".busy.abc.part", "x"]
    cached("z", building("one", []), load)
    assert sorted(folders()) == ["x", "z"]


@pytest.mark.parametrize("damage", ["bit", "gone", "digest", "no digests", "digests of another kind"])
def test_damaged_folder_is_built_again(capsys, damage):
    cached("x", building("one", []), load)
    value, digests = cache_dir("indexes", "x") / "value", cache_dir("indexes", "x") / "digests.json"
    match damage:
        case "bit":
            value.write_text("onf")
        case "gone":
            value.unlink()
        case "digest":
            digests.write_text(digests.read_text().replace("a", "b"))
        case "no digests":
            digests.unlink()
        case _:
            digests.write_text("[3]")
    assert cached("x", building("two", []), load) == "two"
    assert "is damaged, or was made by an older version: it is built again" in capsys.readouterr().err
    assert cached("x", building("three", []), load) == "two"
    assert capsys.readouterr().err == ""


def test_of_several_at_once_one_builds():
    calls = []

    def build(folder):
        time.sleep(0.05)
        building("one", calls)(folder)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: cached("x", build, load), range(4))) == ["one"] * 4
    assert calls == ["one"]


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
    assert folders() == []


def test_key_depends_on_every_part_and_their_order():
    keys = {content_key("a", "b"), content_key("b", "a"), content_key("a"), content_key("a", "b", "c")}
    assert len(keys) == 4
