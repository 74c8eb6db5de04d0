"""Grouping by shared prefix and packing into batches: properties, and cases worked by hand."""

from hypothesis import given
from hypothesis import strategies as st

from lmtools.generation.past import GROUP_COST, MIN_PREFIX, common_prefix, pack, plan_groups

TOKENS = st.lists(st.integers(0, 2), max_size=12)
# Long runs of one token, so that prompts share prefixes on both sides of the thresholds.
PROMPTS = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 400)), min_size=1, max_size=3).map(
        lambda runs: [token for token, count in runs for _ in range(count)]
    ),
    max_size=8,
)


@given(TOKENS, TOKENS)
def test_common_prefix_is_the_longest_equal_start(a, b):
    length = common_prefix(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


@given(PROMPTS)
def test_groups_hold_every_prompt_once_and_share_what_they_say(prompts):
    limits = [len(prompt) - 1 for prompt in prompts]
    groups = plan_groups(prompts, limits)
    assert sorted(member for group in groups for member in group.members) == list(range(len(prompts)))
    for group in groups:
        first = prompts[group.members[0]][: group.shared]
        assert all(prompts[member][: group.shared] == first for member in group.members)
        assert all(group.shared <= limits[member] for member in group.members)
        assert group.shared == 0 or (group.shared >= MIN_PREFIX and len(group.members) > 1)


def saving(groups):
    return sum((len(group.members) - 1) * group.shared - GROUP_COST for group in groups if group.shared)


@given(PROMPTS)
def test_no_single_group_of_neighbours_saves_more(prompts):
    limits = [len(prompt) - 1 for prompt in prompts]
    best = saving(plan_groups(prompts, limits))
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    for start in range(len(order)):
        shared = limits[order[start]]
        for stop in range(start + 1, len(order)):
            a, b = order[stop - 1], order[stop]
            shared = min(shared, limits[b], common_prefix(prompts[a], prompts[b]))
            if shared >= MIN_PREFIX:
                assert best >= (stop - start) * shared - GROUP_COST
    assert best >= 0


def test_two_few_shot_prompts_become_two_groups():
    system = [9] * 40
    prompts = [system + [demo] * 600 + [question] for question in range(8) for demo in (1, 2)]
    groups = plan_groups(prompts, [len(prompt) - 1 for prompt in prompts])
    assert sorted(group.shared for group in groups) == [640, 640]
    assert {tuple(sorted(group.members)) for group in groups} == {
        tuple(range(0, 16, 2)),
        tuple(range(1, 16, 2)),
    }


def test_a_stranger_does_not_spoil_the_prefix_of_the_others():
    prompts = [[1] * 500 + [question] for question in range(2, 8)] + [[0, 1]]
    groups = plan_groups(prompts, [len(prompt) - 1 for prompt in prompts])
    assert [(sorted(group.members), group.shared) for group in groups] == [([*range(6)], 500), ([6], 0)]


def test_equal_prompts_share_all_but_what_they_must_keep():
    prompts = [[5] * 800] * 3
    (group,) = plan_groups(prompts, [799] * 3)
    assert group.shared == 799


def test_short_overlaps_are_left_alone():
    prompts = [[1] * (MIN_PREFIX - 1) + [question] for question in range(100)]
    (group,) = plan_groups(prompts, [len(prompt) - 1 for prompt in prompts])
    assert group.shared == 0


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200), st.integers(1, 10))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget, most):
    batches = list(pack(lengths, budget, most))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(flat, reverse=True)
