"""One target measured: which rows there are, and that no labelled pair is ever tested."""

import numpy as np
import pytest
from tiny_ensemble import adapted

from lmtools.hyre.label_draws import Draw, draws
from lmtools.hyre.methods import (
    Method,
    PairView,
    hyre_method,
    informative_draws,
    measure,
    pair_methods,
    shared_methods,
)
from lmtools.hyre.settings import AdaptSettings

PLAIN, GAUSSIAN = AdaptSettings(), AdaptSettings(rule="gaussian")
FIT, PRIOR = np.array([0.1, 0.5, 0.7, 0.9]), np.full(4, 0.25)


def target(n: int = 30, seed: int = 0) -> PairView:
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=(n, 4)) + np.array([0, 0, 0, 1])  # the last head knows this user
    return PairView(margins, rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=(n, 2)))


PAIRS = target()
CHOICES = draws([str(i) for i in range(30)], 6, 0.5, 0, "target")


def in_order(pairs, choice, kind, settings, most, seed):
    """One draw with its pool in the order of questions."""
    [found] = informative_draws(pairs, PRIOR, [choice], kind, settings, most, seed)
    return found


def test_rows_are_named_by_method_and_number():
    methods = [hyre_method("hyre/pca", "pca", PRIOR, PLAIN), *pair_methods("pca"), *shared_methods("pca")]
    found = measure({"pca": PAIRS}, CHOICES, methods, [0, 1, 5])
    assert set(found.scores) == {
        *(f"hyre/pca @{n}" for n in (0, 1, 5)),
        "uniform/pca @0",
        "oracle-head/pca @0",
        "single-head @0",
        *(f"{name} @{n}" for n in (1, 5) for name in ("best-head/pca", "simplex/pca", "fine-tuned-head")),
        *(f"{name} @{n}" for n in (1, 5) for name in ("mean-difference", "logistic")),
    }
    assert set(found.effective) == set(found.scores)
    for right in found.scores.values():
        assert right.shape == (6, 30)


def test_all_baselines_are_measured():
    names = [method.name for method in (*pair_methods("pca"), *shared_methods("pca"))]
    of_ensemble = ["uniform/pca", "best-head/pca", "oracle-head/pca", "simplex/pca"]
    assert names == [*of_ensemble, "single-head", "fine-tuned-head", "mean-difference", "logistic"]


def test_adaptation_pairs_are_never_tested():
    """What a method is shown and what it is asked are kept apart, and only what was asked is counted."""
    place = np.arange(30.0)
    seen = []

    def spy(known, asked):
        seen.append((set(known.single), set(asked.single)))
        return asked.single - 14.5

    pairs = {"pca": PairView(PAIRS.outputs, PAIRS.features, place, PAIRS.inner)}
    found = measure(pairs, CHOICES, [Method("spy", "pca", 0, spy)], [0, 3, 15])
    assert len(seen) == 3 * 6
    for (known, asked), n in zip(seen, np.repeat([0, 3, 15], 6), strict=True):
        assert len(known) == n
        assert not known & asked
    for n in (0, 3, 15):
        for right, choice in zip(found.scores[f"spy @{n}"], CHOICES, strict=True):
            assert np.flatnonzero(np.isfinite(right)).tolist() == choice.test.tolist()
            assert right[choice.test].tolist() == (place[choice.test] > 14.5).tolist()


def test_more_labels_keep_the_earlier_ones():
    shown = []

    def spy(known, asked):
        shown.append(known.single.tolist())
        return asked.single

    measure({"pca": PAIRS}, CHOICES[:1], [Method("spy", "pca", 0, spy)], [2, 5])
    assert shown[1][:2] == shown[0]
    assert shown[1] == PAIRS.single[CHOICES[0].pool[:5]].tolist()


@pytest.mark.parametrize("settings", [PLAIN, GAUSSIAN])
def test_more_labels_than_a_pool_has_are_left_out(settings):
    few = [*CHOICES, Draw(np.array([0, 1, 2]), np.array([3, 4]))]
    found = measure({"pca": PAIRS}, few, [hyre_method("hyre", "pca", PRIOR, settings)], [0, 3, 4, 15, 16])
    expected = {"hyre @3"} if settings is GAUSSIAN else {"hyre @0", "hyre @3"}
    assert set(found.scores) == expected


def test_hyre_is_the_rule_on_the_labelled_pairs():
    found = measure({"pca": PAIRS}, CHOICES, [hyre_method("hyre", "pca", PRIOR, PLAIN)], [5])
    for draw, choice in enumerate(CHOICES):
        weights, _ = adapted(PAIRS.outputs[choice.pool[:5]], FIT, PLAIN)
        right = PAIRS.outputs[choice.test] @ weights > 0
        assert found.scores["hyre @5"][draw, choice.test].tolist() == right.tolist()
        assert found.effective["hyre @5"][draw] == pytest.approx(1 / np.square(weights).sum())


def test_without_labels_hyre_is_the_uniform_mean():
    methods = [hyre_method("hyre/pca", "pca", PRIOR, PLAIN), *pair_methods("pca")]
    found = measure({"pca": PAIRS}, CHOICES, methods, [0])
    hyre, uniform = found.scores["hyre/pca @0"], found.scores["uniform/pca @0"]
    assert np.array_equal(hyre, uniform, equal_nan=True)
    assert found.effective["hyre/pca @0"] == pytest.approx([4.0] * 6)
    assert np.isnan(found.effective["uniform/pca @0"]).all()


def test_a_tie_is_half_right():
    blank = PairView(np.zeros((30, 4)), PAIRS.features, PAIRS.single, PAIRS.inner)
    found = measure({"pca": blank}, CHOICES, [hyre_method("hyre", "pca", PRIOR, PLAIN)], [2])
    right = found.scores["hyre @2"]
    assert set(right[np.isfinite(right)].tolist()) == {0.5}


def test_each_method_sees_its_own_ensemble():
    other = PairView(-PAIRS.outputs, PAIRS.features, PAIRS.single, PAIRS.inner)
    methods = [*pair_methods("one"), *pair_methods("two")]
    found = measure({"one": PAIRS, "two": other}, CHOICES, methods, [0])
    assert np.nansum(found.scores["uniform/one @0"] + found.scores["uniform/two @0"]) == 6 * 15


def test_labels_help_the_rule_to_its_head():
    many = target(400)
    choices = draws([str(i) for i in range(400)], 5, 0.5, 0, "target")
    found = measure({"pca": many}, choices, [hyre_method("hyre", "pca", PRIOR, PLAIN)], [0, 64])
    before, after = (np.nanmean(found.scores[f"hyre @{n}"]) for n in (0, 64))
    assert after > before + 0.1


@pytest.mark.parametrize("settings", [PLAIN, GAUSSIAN])
@pytest.mark.parametrize("kind", ["entropy", "bald", "variance", "random"])
def test_asking_in_turn_reorders_the_pool(kind, settings):
    choice = CHOICES[0]
    found = in_order(PAIRS, choice, kind, settings, 6, seed=0)
    assert found.test.tolist() == choice.test.tolist()
    assert len(set(found.pool.tolist())) == 6
    assert set(found.pool) <= set(choice.pool)
    again = in_order(PAIRS, choice, kind, settings, 6, seed=0)
    assert found.pool.tolist() == again.pool.tolist()
    more = in_order(PAIRS, choice, kind, settings, 100, seed=0)
    assert more.pool[:6].tolist() == found.pool.tolist()
    assert sorted(more.pool) == sorted(choice.pool)


def test_the_first_question_is_the_most_telling():
    margins = PAIRS.outputs.copy()
    margins[CHOICES[0].pool[4]] = [30, -30, 30, -30]
    split = PairView(margins, PAIRS.features, PAIRS.single, PAIRS.inner)
    for kind in ("bald", "variance"):
        assert in_order(split, CHOICES[0], kind, PLAIN, 1, 0).pool[0] == CHOICES[0].pool[4]


def test_questions_do_not_depend_on_labels_that_are_not_known_yet():
    """Pairs of the pool that were not asked about may be turned around; nothing changes."""
    first = in_order(PAIRS, CHOICES[0], "bald", PLAIN, 5, 0).pool
    margins = PAIRS.outputs.copy()
    unasked = [i for i in range(30) if i not in first]
    margins[unasked] *= -1
    turned = PairView(margins, PAIRS.features, PAIRS.single, PAIRS.inner)
    assert in_order(turned, CHOICES[0], "bald", PLAIN, 5, 0).pool.tolist() == first.tolist()
