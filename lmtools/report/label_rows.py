"""What an evaluation of few labels shows: its rows are named ``METHOD @N``, and a curve goes over N.

The figures (``labels``) and the page (``hyre``) show the same methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmtools.core.results import Results
from lmtools.core.statistics import Interval
from lmtools.report.label_curve import Curve

PLAIN = ("uniform/", "single-head", "mean-difference", "logistic", "best-head/", "simplex/", "ridge")
"""What the main method is drawn beside."""
MEASURED = {"preference": "accuracy", "classification": "accuracy", "regression": "rmse"}
"""Task -> the metric of a single target."""

Curves = dict[str, dict[str, tuple[tuple[int, Interval], ...]]]
"""Method -> metric -> (N, value), by rising N."""


@dataclass(frozen=True)
class Shown:
    """What is drawn.

    ``ensembles``: every ensemble, over all targets; ``baselines``: the main method and the plain ones;
    ``targets``: the latter for each target by name. ``metric`` is that over all targets, ``of_target`` that
    of one of them.
    """

    main: str
    metric: str
    of_target: str
    ensembles: Sequence[Curve]
    baselines: Sequence[Curve]
    targets: Mapping[str, Sequence[Curve]]


def shown(results: Results, main: str, task: str) -> Shown:
    """The curves of a result file, the main method's first, then those that learn from labels.

    Args:
        main: the method that all is about, such as ``hyre/pca``.
        task: of the recipe.
    """
    every = curves(results)
    of_target = MEASURED.get(task, "accuracy")
    whole = "rmse-ratio" if of_target == "rmse" else "accuracy"
    source = main.removeprefix("hyre/")
    close = {
        method: own
        for method, own in every.items()
        if method == main or (method.startswith(PLAIN) and method.rpartition("/")[2] in (method, source))
    }
    ensembles = {
        method: own for method, own in every.items() if method.startswith("hyre/") or method in close
    }
    ending = f"/{of_target}"
    targets = sorted({name for own in every.values() for name in own if name.endswith(ending)})
    return Shown(
        main,
        whole,
        of_target,
        _drawn(ensembles, whole, main),
        _drawn(close, whole, main),
        {name.removesuffix(ending): _drawn(close, name, main) for name in targets},
    )


def curves(results: Results) -> Curves:
    """Every method's values; rows that are not of so many labels are left out."""
    found: dict[str, dict[str, list[tuple[int, Interval]]]] = {}
    for row in results.rows:
        method, _, count = row.name.rpartition(" @")
        if method and count.isdecimal():
            for name, value in row.metrics.items():
                found.setdefault(method, {}).setdefault(name, []).append((int(count), value))
    return {
        method: {name: tuple(sorted(points, key=lambda point: point[0])) for name, points in metrics.items()}
        for method, metrics in found.items()
    }


def _drawn(every: Curves, metric: str, main: str) -> list[Curve]:
    found = [Curve(name, metrics[metric]) for name, metrics in every.items() if metric in metrics]
    return sorted(found, key=lambda curve: (curve.name != main, curve.points[-1][0] == 0))
