"""One target measured: every method's margins on its test pairs, for every draw and number of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, softmax

from lmtools.core.arrays import Floats
from lmtools.core.seeds import derive
from lmtools.hyre.adapt import adapted, telling
from lmtools.hyre.label_draws import Draw
from lmtools.hyre.recipe import AdaptSettings
from lmtools.hyre.reweighting import Acquisition, pair_losses, posterior_mode
from lmtools.metrics.preference import correct, effective_heads

# What the reweighting rule is measured against, all behind one interface.
#
# A baseline takes labelled pairs and gives the margins of other pairs:
#
#     uniform           every head alike; no examples
#     best-head         the head with the fewest errors on the examples, ties by the lower loss
#     oracle-head       the head with the fewest errors on the tested pairs: no method, a ceiling for one head
#     simplex           softmax weights by Adam on the NLL of the examples (LoRe, arXiv 2504.14439)
#     single-head       one conventional reward head, trained on the training pairs; no examples
#     fine-tuned-head   the same, its last layer moved by logistic regression on the examples
#     mean-difference   the mean direction of the examples' own differences of features; no ensemble at all
#     logistic          regularised logistic regression on these differences; no ensemble at all

STEPS, RATE = 100, 0.1
"""Of Adam, in the fit of simplex weights."""


@dataclass(frozen=True)
class Pairs:
    """Pairs as every method sees them.

    ``margins`` (n, K) of the ensemble's heads, standardised; ``features`` (n, D), the standardised features
    of the chosen answer less those of the rejected one; ``single`` (n,) the margins of the single head and
    ``inner`` (n, H) the differences of what its last layer sees.
    """

    margins: Floats
    features: Floats
    single: Floats
    inner: Floats

    def __getitem__(self, rows: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> "Pairs":
        return Pairs(self.margins[rows], self.features[rows], self.single[rows], self.inner[rows])


Baseline = Callable[[Pairs, Pairs], Floats]
"""From labelled pairs and others to the margins of the others: (n,)."""


def uniform(known: Pairs, asked: Pairs) -> Floats:
    """The mean of all heads."""
    return np.asarray(asked.margins.mean(axis=1))


def best_head(known: Pairs, asked: Pairs) -> Floats:
    """The head that does best on the examples; the first one where there are none."""
    return asked.margins[:, _best(known.margins)]


def oracle_head(known: Pairs, asked: Pairs) -> Floats:
    """The head that does best on what is asked."""
    return asked.margins[:, _best(asked.margins)]


def simplex(known: Pairs, asked: Pairs) -> Floats:
    """Weights on the simplex that minimise the NLL of the examples."""
    return np.asarray(asked.margins @ simplex_weights(known.margins))


def single_head(known: Pairs, asked: Pairs) -> Floats:
    """The single head as it was trained."""
    return asked.single


def fine_tuned_head(known: Pairs, asked: Pairs) -> Floats:
    """The single head with its last layer moved: logistic regression that starts from it."""
    moved = posterior_mode(known.inner, _variance(known.inner), known.single)
    return np.asarray(asked.single + asked.inner @ moved)


def mean_difference(known: Pairs, asked: Pairs) -> Floats:
    """The mean of the examples' differences, each brought to length 1."""
    length = np.linalg.norm(known.features, axis=1, keepdims=True)
    return np.asarray(asked.features @ (known.features / np.maximum(length, 1e-12)).sum(axis=0))


def logistic(known: Pairs, asked: Pairs) -> Floats:
    """Logistic regression under a normal prior in which a typical margin has the size 1."""
    return np.asarray(asked.features @ posterior_mode(known.features, _variance(known.features)))


BASELINES: dict[str, Baseline] = {
    "uniform": uniform,
    "best-head": best_head,
    "oracle-head": oracle_head,
    "simplex": simplex,
    "single-head": single_head,
    "fine-tuned-head": fine_tuned_head,
    "mean-difference": mean_difference,
    "logistic": logistic,
}
OF_ENSEMBLE = ("uniform", "best-head", "oracle-head", "simplex")
"""The baselines that every ensemble has of its own."""
WITHOUT_EXAMPLES = ("uniform", "oracle-head", "single-head")
"""The baselines that look at no examples, measured once."""


def simplex_weights(margins: Floats) -> Floats:
    """Weights (K,) on the simplex by Adam on their softmax's logits, from equal ones: (n, K) to (K,)."""
    heads = margins.shape[1]
    logits, first, second = np.zeros(heads), np.zeros(heads), np.zeros(heads)
    for step in range(1, STEPS + 1):
        weights = softmax(logits)
        pull = -expit(-(margins @ weights)) @ margins  # of the NLL, by the weights
        gradient = weights * (pull - weights @ pull)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        logits = logits - RATE * corrected
    return np.asarray(softmax(logits), dtype=np.float64)


def _best(margins: Floats) -> int:
    wrong = pair_losses(margins, "zero_one").sum(axis=0)
    unsure = pair_losses(margins, "nll").sum(axis=0)
    return int(np.lexsort((unsure, wrong))[0])


def _variance(differences: Floats) -> float:
    """Of each coefficient: 1 / the mean squared length of a difference."""
    squared = float(np.square(differences).sum(axis=1).mean()) if len(differences) else 0.0
    return 1 / squared if squared > 0 else 1.0


@dataclass(frozen=True)
class Method:
    """A row: its name without the number of labels, of which ensemble, and how it gets margins.

    ``predict`` also gives the effective number of heads, NaN where the method has no weights.
    """

    name: str
    ensemble: str
    predict: Callable[[Pairs, Pairs], tuple[Floats, float]]
    needs: int = 0
    """The fewest examples with which it says anything."""
    labels: bool = True
    """Whether it looks at examples at all."""


@dataclass
class Measured:
    """Of one target: row name ``METHOD @N`` -> what came out.

    ``correct`` (draws, n): 1, 0 or 1/2 for each pair that the draw tests, NaN for the others; ``effective``
    (draws,): effective numbers of heads, NaN where a method has no weights.
    """

    correct: dict[str, Floats] = field(default_factory=dict)
    effective: dict[str, Floats] = field(default_factory=dict)


def hyre_method(name: str, ensemble: str, fit: Floats, settings: AdaptSettings) -> Method:
    """The reweighting rule on an ensemble."""

    def predict(known: Pairs, asked: Pairs) -> tuple[Floats, float]:
        weights, _ = adapted(known.margins, fit, settings)
        return asked.margins @ weights, effective_heads(weights) if weights.any() else float(len(weights))

    return Method(name, ensemble, predict, needs=1 if settings.rule == "gaussian" else 0)


def baseline_methods(ensemble: str) -> Iterator[Method]:
    """The baselines that an ensemble has of its own: ``uniform/pca`` ..."""
    for name in OF_ENSEMBLE:
        yield Method(f"{name}/{ensemble}", ensemble, _plain(name), labels=name not in WITHOUT_EXAMPLES,
                     needs=1 if name in ("best-head", "simplex") else 0)  # fmt: skip


def shared_methods(ensemble: str) -> Iterator[Method]:
    """The baselines that need no ensemble; any one lends its features."""
    for name in BASELINES:
        if name not in OF_ENSEMBLE:
            labels = name not in WITHOUT_EXAMPLES
            yield Method(name, ensemble, _plain(name), labels=labels, needs=1 if labels else 0)


def _plain(name: str) -> Callable[[Pairs, Pairs], tuple[Floats, float]]:
    baseline = BASELINES[name]
    return lambda known, asked: (baseline(known, asked), float("nan"))


def measure(
    pairs: Mapping[str, Pairs],
    choices: Sequence[Draw],
    methods: Sequence[Method],
    examples: Sequence[int],
) -> Measured:
    """Every method on one target.

    Args:
        pairs: ensemble's name -> the target's pairs as it sees them.
        choices: the draws; the first N of a pool are labelled.
        examples: numbers of labels; those larger than a pool are left out.
    """
    found = Measured()
    count = len(next(iter(pairs.values())).single)
    for method in methods:
        own = pairs[method.ensemble]
        wanted = [n for n in examples if n >= method.needs] if method.labels else [0]
        for n in wanted:
            if n > min(len(choice.pool) for choice in choices):
                continue
            right = np.full((len(choices), count), np.nan)
            effective = np.full(len(choices), np.nan)
            for draw, choice in enumerate(choices):
                known = own[choice.pool[:n]]
                margins, effective[draw] = method.predict(known, own[choice.test])
                right[draw, choice.test] = correct(margins)
            found.correct[f"{method.name} @{n}"] = right
            found.effective[f"{method.name} @{n}"] = effective
    return found


def asked_in_turn(
    own: Pairs, fit: Floats, choice: Draw, kind: Acquisition, settings: AdaptSettings, most: int, seed: int
) -> Draw:
    """The same draw with its pool in the order in which examples are asked for, up to ``most`` of them.

    After each answer the weights are made anew, and the most telling of the pairs left is next.
    """
    left = list(choice.pool)
    order: list[int] = []
    while left and len(order) < most:
        asked = derive(seed, "ask", len(order))
        found = telling(kind, own.margins[left], own.margins[order], fit, settings, asked)
        order.append(left.pop(int(np.argmax(found))))
    return Draw(np.array(order, dtype=np.intp), choice.test)
