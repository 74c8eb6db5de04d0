"""The methods that are compared, and what each gets right on one target: pairs of a user, or rows of a table.

A method is shown labelled examples and predicts others. Those that an ensemble has of its own:

    hyre              its heads weighted by the examples (``adapt.posterior``)
    uniform           every head alike; no examples
    best-head         the head with the fewest errors on the examples, ties by the lower loss
    oracle-head       the head with the fewest errors on what is tested: no method, a ceiling for one head
    simplex           of pairs: softmax weights by Adam on the NLL of the examples (LoRe, arXiv 2504.14439)

and, of pairs, those that need no ensemble (of tables it is ridge regression, ``tabular.ridge``):

    single-head       one conventional reward head, trained on the training pairs; no examples
    fine-tuned-head   the same, its last layer moved by logistic regression on the examples
    mean-difference   the mean direction of the examples' own differences of features
    logistic          regularised logistic regression on these differences
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from lmtools.core.arrays import Floats
from lmtools.core.seeds import derive
from lmtools.hyre.adapt import Labelled, Margins, informativeness, posterior
from lmtools.hyre.label_draws import Draw
from lmtools.hyre.reweighting import pair_losses, posterior_mode
from lmtools.hyre.settings import Acquisition, AdaptSettings, LossName
from lmtools.metrics.preference import correct, effective_heads

STEPS, RATE = 100, 0.1
"""Of Adam, in the fit of simplex weights."""

# Examples as methods see them


class View(Labelled, Protocol):
    """The examples of a target, through one ensemble: ``PairView``, ``tabular.RowView``."""

    def __getitem__(self, rows: NDArray[np.intp]) -> Self:
        """Some of the examples."""
        ...

    def blended(self, weights: Floats) -> Floats:
        """The predictions of the heads under weights (K,): (n,), or logits (n, C)."""
        ...

    def scores(self, predictions: Floats) -> Floats:
        """How right each prediction is, or how wrong: (n,)."""
        ...


@dataclass(frozen=True)
class PairView:
    """Pairs as methods see them.

    ``outputs`` (n, K) are the margins of the ensemble's heads, standardised; ``features`` (n, D), the
    standardised features of the chosen answer less those of the rejected one; ``single`` (n,) the margins of
    the single head and ``inner`` (n, H) the differences of what its last layer sees.
    """

    outputs: Floats
    features: Floats
    single: Floats
    inner: Floats

    def __getitem__(self, rows: NDArray[np.intp]) -> "PairView":
        return PairView(self.outputs[rows], self.features[rows], self.single[rows], self.inner[rows])

    def losses(self, loss: LossName) -> Floats:
        """Each head's loss on each pair: (n, K)."""
        return pair_losses(self.outputs, loss)

    def blended(self, weights: Floats) -> Floats:
        """The ensemble's margins: (n,)."""
        return np.asarray(self.outputs @ weights)

    def scores(self, predictions: Floats) -> Floats:
        """1 where the order is right, 0 where it is wrong, 1/2 at a tie."""
        return correct(predictions)


V = TypeVar("V", bound=View)


@dataclass(frozen=True)
class Method(Generic[V]):
    """A method: its name without the number of labels, and of which ensemble it is.

    ``needs`` is the fewest examples with which it says anything; None: it looks at none, and is measured
    once. ``predict`` goes from labelled examples and others to the others' predictions. A method that weighs
    heads has ``weigh`` in its place: from labelled examples to weights (K,) and losses (K,).
    """

    name: str
    ensemble: str
    needs: int | None
    predict: Callable[[V, V], Floats] | None = None
    weigh: Callable[[V], tuple[Floats, Floats]] | None = None


# The methods of an ensemble


def hyre_method(name: str, ensemble: str, prior: Floats, settings: AdaptSettings) -> Method[V]:
    """The rule of the settings on an ensemble; ``prior`` (K,) is that of its heads, ``adapt.head_prior``."""
    # Without examples a normal prior has no direction to prefer.
    needs = 1 if settings.rule == "gaussian" else 0
    return Method(name, ensemble, needs, weigh=partial(posterior, prior=prior, settings=settings))


def uniform(labelled: View, tested: View) -> Floats:
    """The mean of all heads."""
    return np.asarray(tested.outputs.mean(axis=1))


def best_head(labelled: View, tested: View) -> Floats:
    """The head that does best on the examples; the first one where there are none."""
    return np.asarray(tested.outputs[:, _best(labelled)])


def oracle_head(labelled: View, tested: View) -> Floats:
    """The head that does best on what is tested."""
    return np.asarray(tested.outputs[:, _best(tested)])


def _best(view: View) -> int:
    """The head with the fewest errors, ties by the lower loss."""
    errors, nll = view.losses("zero_one").sum(axis=0), view.losses("nll").sum(axis=0)
    return int(np.lexsort((nll, errors))[0])


def ensemble_methods(ensemble: str) -> Iterator[Method[V]]:
    """The baselines that every ensemble has of its own: ``uniform/pca`` ..."""
    yield Method(f"uniform/{ensemble}", ensemble, None, uniform)
    yield Method(f"best-head/{ensemble}", ensemble, 1, best_head)
    yield Method(f"oracle-head/{ensemble}", ensemble, None, oracle_head)


# The methods of pairs alone


def simplex(labelled: PairView, tested: PairView) -> Floats:
    """Weights on the simplex that minimise the NLL of the examples."""
    return np.asarray(tested.outputs @ simplex_weights(labelled.outputs))


def single_head(labelled: PairView, tested: PairView) -> Floats:
    """The single head as it was trained."""
    return tested.single


def fine_tuned_head(labelled: PairView, tested: PairView) -> Floats:
    """The single head with its last layer moved: logistic regression that starts from it."""
    moved = posterior_mode(labelled.inner, _variance(labelled.inner), labelled.single)
    return np.asarray(tested.single + tested.inner @ moved)


def mean_difference(labelled: PairView, tested: PairView) -> Floats:
    """The mean of the examples' differences, each brought to length 1."""
    length = np.linalg.norm(labelled.features, axis=1, keepdims=True)
    return np.asarray(tested.features @ (labelled.features / np.maximum(length, 1e-12)).sum(axis=0))


def logistic(labelled: PairView, tested: PairView) -> Floats:
    """Logistic regression under a normal prior in which a typical margin has the size 1."""
    return np.asarray(tested.features @ posterior_mode(labelled.features, _variance(labelled.features)))


def pair_methods(ensemble: str) -> Iterator[Method[PairView]]:
    """All baselines that an ensemble has of its own on pairs."""
    yield from ensemble_methods(ensemble)
    yield Method(f"simplex/{ensemble}", ensemble, 1, simplex)


def shared_methods(ensemble: str) -> Iterator[Method[PairView]]:
    """The baselines on pairs that need no ensemble; any one lends its features."""
    yield Method("single-head", ensemble, None, single_head)
    yield Method("fine-tuned-head", ensemble, 1, fine_tuned_head)
    yield Method("mean-difference", ensemble, 1, mean_difference)
    yield Method("logistic", ensemble, 1, logistic)


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


def _variance(differences: Floats) -> float:
    """Of each coefficient: 1 / the mean squared length of a difference."""
    squared = float(np.square(differences).sum(axis=1).mean()) if len(differences) else 0.0
    return 1 / squared if squared > 0 else 1.0


# One target measured


@dataclass(frozen=True)
class Measured:
    """What came out on one target, by the name of the row, ``METHOD @N``.

    ``scores`` (draws, n): how right each tested example was, NaN where a draw does not test it.
    ``effective`` (draws,): the effective number of heads, NaN for methods that weigh none.
    """

    scores: dict[str, Floats] = field(default_factory=dict)
    effective: dict[str, Floats] = field(default_factory=dict)

    def __or__(self, other: "Measured") -> "Measured":
        return Measured(self.scores | other.scores, self.effective | other.effective)


def measure(
    views: Mapping[str, V], draws: Sequence[Draw], methods: Sequence[Method[V]], examples: Sequence[int]
) -> Measured:
    """Every method on one target; no draw tests an example that it labels.

    Args:
        views: ensemble's name -> the target's examples as it sees them.
        draws: the first N of a draw's pool are labelled.
        examples: numbers of labels; those larger than a pool are left out.
    """
    measured = Measured()
    largest = min(len(draw.pool) for draw in draws)
    for method in methods:
        view = views[method.ensemble]
        counts = [0] if method.needs is None else [n for n in examples if n >= method.needs]
        for n in counts:
            if n > largest:
                continue
            scores = np.full((len(draws), len(view.outputs)), np.nan)
            effective = np.full(len(draws), np.nan)
            for row, draw in enumerate(draws):
                labelled, tested = view[draw.pool[:n]], view[draw.test]
                if method.weigh is not None:
                    weights, _ = method.weigh(labelled)
                    predictions = tested.blended(weights)
                    effective[row] = effective_heads(weights) if weights.any() else len(weights)
                else:
                    assert method.predict is not None
                    predictions = method.predict(labelled, tested)
                scores[row, draw.test] = tested.scores(predictions)
            measured.scores[f"{method.name} @{n}"] = scores
            measured.effective[f"{method.name} @{n}"] = effective
    return measured


def informative_draws(
    view: PairView, prior: Floats, draws: Sequence[Draw], kind: Acquisition, settings: AdaptSettings,
    most: int, seed: int,
) -> list[Draw]:  # fmt: skip
    """The same draws, each pool in the order in which labels would be asked for, up to ``most`` of them.

    After each label the weights are computed anew, and the most informative of the pairs left is next.
    """
    ordered = []
    for draw in draws:
        left = list(draw.pool)
        order: list[int] = []
        while left and len(order) < most:
            labelled = view.outputs[order]
            weights, _ = posterior(Margins(labelled), prior, settings)
            step_seed = derive(seed, "ask", len(order))
            gains = informativeness(kind, view.outputs[left], labelled, weights, settings, step_seed)
            order.append(left.pop(int(np.argmax(gains))))
        ordered.append(Draw(np.array(order, dtype=np.intp), draw.test))
    return ordered
