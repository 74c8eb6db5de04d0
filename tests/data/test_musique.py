"""MuSiQue: the decomposition's order, several paragraphs of a title, the unanswerable half."""

from lmtools.core.files import write_jsonl
from lmtools.data.readers.musique import MusiqueRecord, question
from lmtools.data.records import Passage, Question
from lmtools.data.sources import load_passages, load_questions

TWO_HOP = {
    "id": "2hop__1_2",
    "paragraphs": [
        {
            "idx": 0,
            "title": "Green (album)",
            "paragraph_text": "Green is by Steve Hillage.",
            "is_supporting": True,
        },
        {
            "idx": 1,
            "title": "Miquette Giraudy",
            "paragraph_text": "She plays keyboards.",
            "is_supporting": False,
        },
        {
            "idx": 2,
            "title": "Steve Hillage",
            "paragraph_text": "His wife is Miquette.",
            "is_supporting": True,
        },
        {
            "idx": 3,
            "title": "Steve Hillage",
            "paragraph_text": "He played the guitar.",
            "is_supporting": False,
        },
    ],
    "question": "Who is the spouse of the Green performer?",
    "question_decomposition": [
        {"id": 7, "question": "Green >> performer", "answer": "Steve Hillage", "paragraph_support_idx": 2},
        {"id": 8, "question": "#1 >> spouse", "answer": "Miquette Giraudy", "paragraph_support_idx": 0},
    ],
    "answer": "Miquette Giraudy",
    "answer_aliases": ["Giraudy"],
    "answerable": True,
}


def test_titles_follow_the_decomposition():
    assert list(question(MusiqueRecord.model_validate(TWO_HOP))) == [
        Question(
            id="2hop__1_2",
            question="Who is the spouse of the Green performer?",
            answer="Miquette Giraudy",
            aliases=("Giraudy",),
            supporting=("Steve Hillage", "Green (album)"),
            kind="2-hop",
        )
    ]


def test_without_a_decomposition_the_marked_paragraphs_count():
    record = MusiqueRecord.model_validate({**TWO_HOP, "question_decomposition": []})
    assert next(question(record)).supporting == ("Green (album)", "Steve Hillage")


def test_unanswerable_questions_are_left_out(tmp_path):
    steps = [{**step, "paragraph_support_idx": None} for step in TWO_HOP["question_decomposition"]]
    without = {**TWO_HOP, "id": "b", "answerable": False, "question_decomposition": steps}
    path = tmp_path / "musique_full.jsonl"
    write_jsonl(path, [without, TWO_HOP])
    assert [found.id for found in load_questions(str(path))] == ["2hop__1_2"]


def test_paragraphs_of_one_title_get_ids_of_their_own(tmp_path):
    path = tmp_path / "musique.jsonl"
    write_jsonl(path, [{**TWO_HOP, "id": id} for id in "ab"])
    found = load_passages(str(path))
    assert [passage.id for passage in found] == [
        "Green (album)",
        "Miquette Giraudy",
        "Steve Hillage",
        "Steve Hillage #2",
    ]
    assert found[3] == Passage(id="Steve Hillage #2", title="Steve Hillage", text="He played the guitar.")
