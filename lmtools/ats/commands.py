"""`lmtools ats fit`: run the model once, fit everything on what it computed, measure on held-out tokens."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch

from lmtools.ats.artefact import Baselines
from lmtools.ats.cache import FeatureCache
from lmtools.ats.dry_run import head_parameters
from lmtools.ats.extract import extract
from lmtools.ats.fit import VECTOR, Fit, clear, fit_baselines, fit_head, head_directories, in_order
from lmtools.ats.heads import TemperatureHead
from lmtools.ats.inputs import Setup
from lmtools.ats.measure import FILE as TOKENS
from lmtools.ats.measure import TokenScores, joined, of_logits, of_multipliers, table, write_token_texts
from lmtools.ats.recipe import HeadConfig
from lmtools.ats.train import log_multipliers
from lmtools.calibration.scoring import UNCALIBRATED
from lmtools.core.progress import Work, say
from lmtools.core.results import Results, read_results
from lmtools.core.run import Run
from lmtools.models.load import LoadedModel, load, load_tokenizer, may_merge

MEASURED = 256
"""Tokens whose logits are computed at a time."""


def fit(setup: Setup, run: Run, recipe_name: str) -> Results:
    """Fit every method of the recipe. A finished run is only read.

    Raises:
        ModelError: the model's numbers, or the loss of a head, are not finite.
        MachineError: the cache or the run cannot be written.
    """
    if not run.writes:
        return run.results(recipe_name, ())
    if run.path("metrics.json").exists():
        return read_results(run.path("metrics.json"))
    spec = setup.recipe.model

    @cache
    def open_model() -> LoadedModel:
        return load(spec, merge=may_merge(spec), float32_logits=True)

    with run.stage("read", partial(reading, setup)):
        found = Fit(setup, read(setup, open_model), open_model)
        rows, tokens = (int(found.cache.arrays[name][-1]) for name in ("rows", "tokens"))
        say(f"{len(found.cache)} sequences, {rows:,} tokens, {tokens:,} of them before a response token")
    heads = {}
    for name, (config, directory) in head_directories(found, run).items():
        with run.stage(f"fit {name}", partial(fitting, setup, config, rows)):
            heads[name] = fit_head(found, config, directory, run)
    with run.stage("fit baselines", partial(fitting_vector, setup, tokens)):
        baselines = fit_baselines(found, run)
    with run.stage("measure", Work):
        results = measure(found, heads, baselines, run, recipe_name)
    with run.stage("texts token by token", Work):
        name, head = next(iter(heads.items()))
        write_token_texts(run.path(TOKENS), found, name, head, load_tokenizer(spec))
    clear(run)
    return results


def reading(setup: Setup) -> Work:
    """The language model's one pass."""
    return Work(read=int(setup.rows.known()["rows"][-1]))


def fitting(setup: Setup, config: HeadConfig, tokens: int) -> Work:
    """Passes of a head over cached features, as if the model were trained on its share of the weights."""
    share = head_parameters(config, setup.shape) / setup.shape.decoder_weights
    return Work(trained=tokens * setup.recipe.train.epochs * share)


def fitting_vector(setup: Setup, tokens: int) -> Work:
    """The same of vector scaling, which works on whole logits; the other baselines take next to nothing."""
    settings = setup.recipe.vector
    if VECTOR not in setup.recipe.compare:
        return Work()
    share = setup.shape.hidden * setup.shape.vocabulary / setup.shape.decoder_weights
    return Work(trained=min(tokens, settings.tokens or tokens) * settings.epochs * share)


def read(setup: Setup, open_model: Callable[[], LoadedModel]) -> FeatureCache:
    """The language model's one pass."""
    recipe = setup.recipe
    return extract(
        setup.rows,
        setup.identity,
        open_model,
        batch_tokens=recipe.model.batch_tokens,
        dtype=recipe.data.cache_dtype,
        from_logits=any(head.needs_logits for head in recipe.heads),
    )


def measure(
    found: Fit, heads: dict[str, TemperatureHead], baselines: Baselines, run: Run, recipe_name: str
) -> Results:
    """Every method on the held-out tokens, or on all where none are held out."""
    recipe, held = found.setup.recipe, found.setup.split.measured
    if not found.setup.split.validation:
        say("nothing is held out (data.validation=0): every method is measured on what it was fitted on")
    summary, masked = found.cache.summary(held), found.masked(held)
    fixed = {UNCALIBRATED: 0.0, **{name: s for name, s in baselines.scalars.items() if name not in heads}}
    multipliers = {name: torch.full_like(summary.label, value) for name, value in fixed.items()}
    for name, head in heads.items():
        multipliers[name] = log_multipliers(head, found.batches(head.config), held)
    scores = {
        name: of_multipliers(summary, values.exp(), found.objective, masked)
        for name, values in multipliers.items()
    }
    base = scores[UNCALIBRATED]
    for name, adjust in baselines.maps.items():
        scores[name] = TokenScores({}, adjust(base.confidence), base.correct)
    if baselines.vector is not None:
        scores[VECTOR] = _vector_scores(found, baselines, held)
    clusters = np.repeat(np.arange(len(held)), found.cache.counts()[list(held)]).tolist()
    ordered = {name: scores[name] for name in in_order(scores)}
    return run.results(recipe_name, *table(ordered, clusters, recipe.resamples, recipe.seed))


def _vector_scores(found: Fit, baselines: Baselines, held: tuple[int, ...]) -> TokenScores:
    """Vector scaling works on whole logits, a few tokens at a time."""
    places, labels = found.cache.tokens(held), torch.from_numpy(found.cache.of_tokens("labels", held))
    output = found.output
    assert baselines.vector is not None
    vector = baselines.vector.to(str(output.device))
    parts = []
    for start in range(0, len(places), MEASURED):
        group = slice(start, start + MEASURED)
        logits = vector(output(found.cache.states(places[group])).float())
        parts.append(of_logits(logits, labels[group].to(logits.device)))
    return joined(parts)
