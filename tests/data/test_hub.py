"""Hub data sets, through a local folder that `datasets` loads as it would a repository."""

import pytest

from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import write_jsonl
from lmtools.data import locations
from lmtools.data.locations import HubName, parse_hub_name
from lmtools.data.sources import load_passages, load_questions, source_hash

RECORDS = [
    {
        "id": "a",
        "question": "Who?",
        "answer": "Me",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": {"title": ["T", "U", "T"], "sent_id": [0, 1, 2]},
        "context": {"title": ["T", "U"], "sentences": [["One.", " Two."], ["Three."]]},
    }
]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with two splits; `datasets` keeps its own cache elsewhere in the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repo"
    folder.mkdir()
    for split, count in (("train", 2), ("validation", 1)):
        rows = [{**RECORDS[0], "id": f"{split}{number}"} for number in range(count)]
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hf:a/b", HubName("a/b", None, "train")),
        ("hf:a/b:fullwiki", HubName("a/b", "fullwiki", "train")),
        ("hf:a/b:fullwiki:validation", HubName("a/b", "fullwiki", "validation")),
        ("hf:a/b::test", HubName("a/b", None, "test")),
    ],
)
def test_names(source, expected):
    assert parse_hub_name(source) == expected


@pytest.mark.parametrize("source", ["hf:", "hf::x", "hf:a:b:c:d"])
def test_names_that_are_none(source):
    with pytest.raises(DataError, match="hf:REPO"):
        parse_hub_name(source)


def test_questions_and_passages_of_a_repository(repository):
    questions = load_questions(f"hf:{repository}")
    assert [question.id for question in questions] == ["train0", "train1"]
    assert questions[0].supporting == ("T", "U")
    assert [question.id for question in load_questions(f"hf:{repository}::validation")] == ["validation0"]
    assert [(passage.title, passage.text) for passage in load_passages(f"hf:{repository}")] == [
        ("T", "One. Two."),
        ("U", "Three."),
    ]


def test_the_hash_is_of_the_content(repository, tmp_path):
    first = source_hash(f"hf:{repository}")
    assert first == source_hash(f"hf:{repository}")
    assert first != source_hash(f"hf:{repository}::validation")
    (repository / "train.jsonl").rename(tmp_path / "kept")
    (repository / "train.jsonl").write_bytes((tmp_path / "kept").read_bytes())
    assert first == source_hash(f"hf:{repository}")


def test_a_split_that_is_not_there(repository):
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        load_questions(f"hf:{repository}::nosuch")
    assert "nosuch" in str(caught.value)


def test_class_labels_become_their_names(monkeypatch):
    import datasets

    features = datasets.Features(
        {"uid": datasets.Value("string"), "label": datasets.ClassLabel(names=["NOT_SUPPORTED", "SUPPORTED"])}
    )
    made = datasets.Dataset.from_dict({"uid": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: made)
    assert locations.load_hub("hf:x/y")["label"] == ["SUPPORTED", "NOT_SUPPORTED", ""]


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (ConnectionError("no route"), MachineError, "cannot be reached: no route"),
        (FileNotFoundError("nothing there"), DataError, "no such data set"),
        (ValueError("BuilderConfig 'x' not found.\nAvailable: y"), DataError, "BuilderConfig 'x' not found"),
    ],
)
def test_what_datasets_raises_is_explained(monkeypatch, raised, kind, text):
    import datasets

    def fail(*names, **options):
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(kind) as caught:
        load_questions("hf:x/y")
    assert type(caught.value) is kind
    assert text in str(caught.value)


@pytest.mark.parametrize("repo", ["a" * 5000, "a\0b", "~nobody-of-that-name"])
def test_a_name_that_no_file_can_have_is_the_hubs(repo):
    assert locations.source_file(f"hf:{repo}") == (f"hf:{repo}", "", "")
