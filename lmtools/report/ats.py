"""A fit of temperature heads on the page: methods on held-out tokens, training curves, texts token by token.

Read from `metrics.json`, `training.jsonl` and `tokens.jsonl`; the last two are absent from older runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmtools.core.tracking import TRAINING_FILE as TRAINING
from lmtools.core.tracking import read_curves
from lmtools.report.charts import by_part, curve, format_value
from lmtools.report.elements import (
    Dots,
    Grid,
    Line,
    Lines,
    Measure,
    Part,
    Prose,
    Section,
    Table,
    Token,
    Tokens,
)
from lmtools.report.run_files import Source, number, records, text, texts
from lmtools.report.sentences import unit

SYSTEM, FILE = "ats", "tokens.jsonl"
METRICS = {
    "loss": "loss of the recipe",
    "nll": "negative log-likelihood of a token, in nats",
    "token-ece": "calibration error of the most probable token",
    "multiplier": "mean multiplier of the logits: 1 / temperature",
}
VALUES = {
    "temperature": "temperature",
    "before": "probability before",
    "after": "probability after",
    "top_before": "surest token before",
    "top_after": "surest token after",
}
"""The lists of a line of `tokens.jsonl`, and what a reader chooses between."""
MOST_TEXTS, MOST_TOKENS = 24, 600
NARROWEST = 0.1
"""Temperatures this far from 1 are at the end of the colours at the least: small ones do not look large."""


@dataclass(frozen=True)
class _AnnotatedText:
    title: str
    method: str
    tokens: tuple[Token, ...]


def sections(run: Source) -> list[Section]:
    """Methods, training and tokens of a fit; none where the run is no fit of heads.

    Raises:
        DataError: `tokens.jsonl` is damaged.
    """
    if run.settings.get("system") != SYSTEM:
        return []
    titled = [("Methods on held-out tokens", _methods(run)), ("Training of the heads", _training(run))]
    titled.append(("Token by token", _tokens(run)))
    return [Section(title, parts) for title, parts in titled if parts]


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Nothing: a fit keeps no figures of single tokens."""
    return {}


def _methods(run: Source) -> list[Part]:
    rows = run.results.rows if run.results else ()
    charts = []
    for metric, words in METRICS.items():
        dots = [(row.name, row.metrics[metric]) for row in rows if metric in row.metrics]
        if dots:
            charts.append(Dots(words, dots, unit(metric), strong=run.head))
    if not charts:
        return []
    data = run.settings.get("data")
    held_out = not isinstance(data, dict) or data.get("validation") != 0
    note = "Measured on sequences that nothing was trained on; intervals are over sequences."
    fitted = "Nothing was held out: every method is measured on what it was fitted on."
    return [Prose(note, "note") if held_out else Prose(fitted, "warning"), Grid(charts)]


def _training(run: Source) -> list[Part]:
    """The losses of every part that was trained step by step."""
    charts, rows = [], []
    for name, log in by_part(read_curves(run.path(TRAINING))).items():
        lines = {"training": curve(log, "loss"), "validation": curve(log, "validation_loss")}
        measured = {kind: points for kind, points in lines.items() if points}
        if any(len(points) > 1 for points in measured.values()):
            drawn = [Line(kind, points) for kind, points in measured.items()]
            charts.append(Lines(name, drawn, "step", "loss", strong="validation"))
        lowest = min((point[1] for point in lines["validation"]), default=None)
        last = lines["training"][-1] if lines["training"] else (None, None)
        rows.append((name, *(format_value(value, "number") for value in (*last, lowest))))
    if not rows:
        return []
    columns = ["", "steps", "last training loss", "lowest validation loss"]
    return [*([Grid(charts)] if charts else []), Table(columns, rows)]


def _tokens(run: Source) -> list[Part]:
    annotated = [text for _, text in zip(range(MOST_TEXTS), records(run.path(FILE), _text), strict=False)]
    if not annotated:
        missing = f"This run has no {FILE}: `lmtools ats fit` run anew shows texts token by token here."
        return [Prose(missing, "note")] if run.results else []
    note = (
        f"What the head ({annotated[0].method}) makes of held-out texts, long ones cut. The probability is "
        "that of the token that stands there, predicted from those before it; the surest token is the most "
        "probable one, whether it stands there or not. Above temperature 1 the model is made less sure, "
        "below it surer. Tokens of prompts have no figures."
    )
    texts = [(f"{index}. {text.title}", text.tokens) for index, text in enumerate(annotated, start=1)]
    low, high = _range(
        [value for text in annotated for token in text.tokens if (value := token.values[0]) is not None]
    )
    measures = [Measure(VALUES["temperature"], low, high, middle=1.0)]
    measures += [Measure(words, 0, 1, "rate") for words in list(VALUES.values())[1:]]
    return [Prose(note, "note"), Tokens("A text by temperature and by confidence", measures, texts)]


def _text(line: dict[str, Any]) -> _AnnotatedText:
    """A line of the file; raises what ``records`` turns into a DataError."""
    pieces = texts(line["tokens"])[:MOST_TOKENS]
    columns = [line[name] for name in VALUES]
    if any(len(column) < len(pieces) for column in columns):
        raise ValueError("fewer values than tokens")
    values = zip(*(map(_value, column[: len(pieces)]) for column in columns), strict=True)
    tokens = tuple(Token(piece, figures) for piece, figures in zip(pieces, values, strict=True))
    return _AnnotatedText(text(line["title"]), text(line["method"]), tokens)


def _value(value: Any) -> float | None:
    return None if value is None else number(value)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the colours: all but the most extreme temperatures, and 1 well between them."""
    ordered = sorted(values) or [1.0]
    cut = len(ordered) // 50
    return min(ordered[cut], 1 - NARROWEST), max(ordered[-1 - cut], 1 + NARROWEST)
