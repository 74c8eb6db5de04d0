"""One target measured: every method's margins on its test pairs, for every draw and number of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmtools.core.seeds import derive
from lmtools.hyre.acquire import Acquisition
from lmtools.hyre.adapt import adapted, telling
from lmtools.hyre.baselines import BASELINES, OF_ENSEMBLE, WITHOUT_EXAMPLES, Pairs
from lmtools.hyre.draws import Draw
from lmtools.hyre.recipe import AdaptSettings
from lmtools.hyre.reweighting import Floats
from lmtools.metrics.preference import correct, effective_heads


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
