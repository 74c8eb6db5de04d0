"""Rows of texts: every answer once, prompts shared where that is worth it, and who sees whom."""

from hypothesis import given
from hypothesis import strategies as st

from lmtools.models.chat import EncodedAnswer
from lmtools.models.pooling import PADDING, batches, pack_rows, tensors, worth_sharing

PROMPTS = st.lists(st.integers(0, 1), max_size=6).map(tuple)
ANSWERS = st.lists(st.integers(2, 9), min_size=1, max_size=6).map(tuple)
TEXTS = st.lists(st.builds(EncodedAnswer, PROMPTS, ANSWERS), max_size=12)


@given(TEXTS, st.integers(1, 40), st.booleans())
def test_every_text_is_in_one_row_with_its_prompt(texts, most, share):
    rows = pack_rows(texts, 64, most, share=share)
    assert sorted(at for row in rows for at in row.members) == list(range(len(texts)))
    for row in rows:
        assert all(texts[at].prompt == row.prompt for at in row.members)
        assert row.length == len(row.prompt) + sum(len(texts[at].answer) for at in row.members)
        assert len(row.members) == 1 or (share and row.length <= most)
    assert [row.length for row in rows] == sorted((row.length for row in rows), reverse=True)


@given(TEXTS, st.integers(1, 40))
def test_batches_hold_every_row_within_the_limit(texts, most):
    rows = pack_rows(texts, 64, most, share=True)
    runs = list(batches(rows, most))
    assert [row for batch in runs for row in batch] == rows
    assert all(len(batch) == 1 or len(batch) * batch[0].length <= most for batch in runs)


def test_two_answers_to_a_long_prompt_share_it_and_to_a_short_one_do_not():
    long = [EncodedAnswer(tuple(range(200)), (1,) * length) for length in (40, 50)]
    short = [EncodedAnswer((1, 2), (1,) * length) for length in (400, 500)]
    assert len(pack_rows(long, 576, 8192, share=True)) == 1
    assert len(pack_rows(long, 576, 8192, share=False)) == 2
    assert len(pack_rows(short, 16, 8192, share=True)) == 2
    assert worth_sharing(long[0], 250, 576)


@given(st.lists(ANSWERS, min_size=1, max_size=4), PROMPTS, ANSWERS)
def test_a_token_sees_the_prompt_and_its_own_answer_up_to_itself(answers, prompt, other):
    texts = [EncodedAnswer(prompt, answer) for answer in answers] + [EncodedAnswer((5,), other)]
    rows = pack_rows(texts, 10**6, 10**6, share=True)
    batch = tensors(rows, texts, "cpu")
    seen = batch.visible()[:, 0]
    assert seen.any(dim=-1).all()
    assert len(batch.spans) == len(texts)
    for member, row, start, end in batch.spans:
        text = texts[member]
        for token in range(start, end):
            visible = seen[row, token].nonzero().flatten()
            whole = text.prompt + text.answer[: token - start + 1]
            assert batch.ids[row, visible].tolist() == list(whole)
            assert batch.positions[row, visible].tolist() == list(range(len(whole)))
    assert batch.shared == any(len(row.members) > 1 for row in rows)
    assert (batch.part == PADDING).sum() == batch.ids.numel() - sum(row.length for row in rows)
