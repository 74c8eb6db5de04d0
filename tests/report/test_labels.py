"""The figures and the headline of an evaluation."""

import re
import xml.etree.ElementTree as xml

from lmtools.core.results import Difference, Interval, Results, Row
from lmtools.report.label_curves import headline, write_label_curves


def row(name, value=0.6, **more):
    own = {"accuracy": value, "long/accuracy": value + 0.1, "short/accuracy": value - 0.1} | more
    return Row(name, {metric: Interval(v, v - 0.05, v + 0.05, 40) for metric, v in own.items()})


def results(*rows, differences=()):
    return Results("tiny", "lmtools hyre eval", 0, {}, {}, rows, tuple(differences))


EVERY = results(
    *(row(f"hyre/pca @{n}", 0.5 + 0.02 * n, spread=0.1, disagreement=0.4) for n in (0, 1, 5, 16)),
    *(row(f"hyre/random @{n}") for n in (0, 1, 5, 16)),
    *(row(f"logistic @{n}") for n in (1, 5, 16)),
    *(row(f"hyre/pca (bald) @{n}") for n in (1, 5)),
    *(row(f"{name} @0") for name in ("uniform/pca", "uniform/random", "single-head", "oracle-head/pca")),
    differences=[
        Difference("hyre/pca @5", "logistic @5", "accuracy", 0.1, 0.0, 0.2, 40),
        Difference("hyre/pca @5", "logistic @5", "wins", 1.0, 0.5, 1.0, 2),
        Difference("hyre/pca @1", "logistic @1", "accuracy", 0.1, 0.0, 0.2, 40),
        Difference("hyre/random @5", "logistic @5", "accuracy", 0.1, 0.0, 0.2, 40),
    ],
)


def texts(path):
    return [
        "".join(node.itertext()).strip() for node in xml.parse(path).getroot().iter() if "text" in node.tag
    ]


def test_a_figure_of_the_mean_and_one_of_every_target(tmp_path):
    written = write_label_curves(EVERY, tmp_path / "plots", "hyre/pca", "preference")
    assert [path.name for path in written] == ["labels.svg", "targets.svg"]
    mean, targets = (" ".join(texts(path)) for path in written)
    assert "mean over targets, every ensemble" in mean
    assert "against the baselines" in mean
    assert {"long", "short"} <= set(texts(written[1]))
    for name in ("hyre/pca", "logistic", "uniform/pca", "single-head"):
        assert name in targets
    assert "hyre/random" in mean
    assert "hyre/random" not in targets
    assert "uniform/random" not in mean + targets
    assert "oracle-head" not in mean + targets


def test_figures_are_the_same_every_time(tmp_path):
    one, two = (
        [path.read_bytes() for path in write_label_curves(EVERY, tmp_path / name, "hyre/pca", "preference")]
        for name in ("a", "b")
    )
    assert one == two


def test_the_order_of_rows_does_not_matter(tmp_path):
    turned = results(*EVERY.rows[3::-1], *EVERY.rows[4:])
    one = write_label_curves(EVERY, tmp_path / "a", "hyre/pca", "preference")
    two = write_label_curves(turned, tmp_path / "b", "hyre/pca", "preference")
    path = re.compile(r'd="([^"]+)"')
    assert [path.findall(p.read_text()) for p in one] == [path.findall(p.read_text()) for p in two]


def test_tables_have_their_own_measure(tmp_path):
    interval = Interval(1.2, 1.1, 1.3, 40)
    rows = [
        Row(f"{name} @{n}", {"rmse-ratio": interval, "concrete/rmse": interval, "power/rmse": interval})
        for name in ("hyre/shared_base", "ridge")
        for n in (5, 10)
    ]
    written = write_label_curves(results(*rows), tmp_path, "hyre/shared_base", "regression")
    assert "RMSE / RMSE of uniform" in texts(written[0])
    assert {"concrete", "power", "RMSE"} <= set(texts(written[1]))


def test_nothing_measured_draws_nothing(tmp_path):
    assert write_label_curves(results(), tmp_path / "plots", "hyre/pca", "preference") == []
    assert not (tmp_path / "plots").exists()


def test_the_headline_is_a_few_rows_without_single_targets():
    shown = headline(EVERY, "pca")
    names = [found.name for found in shown.rows]
    assert "hyre/pca @16" in names
    assert "hyre/pca @1" not in names
    assert all(set(found.metrics) <= {"accuracy", "spread", "disagreement"} for found in shown.rows)
    assert shown.row("hyre/pca @5").metrics["accuracy"] == EVERY.row("hyre/pca @5").metrics["accuracy"]
    assert [(one.a, one.b, one.metric) for one in shown.differences] == [
        ("hyre/pca @5", "logistic @5", "accuracy")
    ]
    assert len(EVERY.rows) == 17
