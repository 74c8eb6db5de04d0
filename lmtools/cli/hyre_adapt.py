"""Adapting to one user from the shell: labelled pairs or questions in the terminal, then weights.json."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmtools.cli import runs
from lmtools.cli.hyre_query import acquisition
from lmtools.cli.hyre_run import ensemble_hashes
from lmtools.cli.output import emit
from lmtools.core.files import write_jsonl
from lmtools.core.progress import say

if TYPE_CHECKING:
    from lmtools.core.arrays import Floats
    from lmtools.core.run import Run
    from lmtools.hyre.adapt import Weights
    from lmtools.hyre.ensemble import Ensemble
    from lmtools.hyre.personal import User
    from lmtools.hyre.recipe import HyreRecipe
    from lmtools.hyre.reweighting import Acquisition
    from lmtools.hyre.session import Adaptation


@dataclass(frozen=True)
class Asked:
    """The options of `lmtools hyre adapt`."""

    examples: int
    pairs: str | None
    target: str | None
    ask: bool
    by: str


def adapt_user(
    source: Path, asked: Asked, settings: Sequence[str], *, out: Path | None, resume: bool, json: bool
) -> None:
    """Adapt to a user, write ``weights.json`` and what it is worth on the user's other pairs.

    ``pairs.jsonl`` and ``steps.jsonl`` tell of each pair and each label.
    """
    from lmtools.data.sources import source_hash
    from lmtools.hyre.ensemble import ensemble_digest
    from lmtools.hyre.personal import gain, weigh, worth
    from lmtools.hyre.reward import open_ensemble, trained_recipe
    from lmtools.hyre.session import PAIRS, STEPS
    from lmtools.hyre.train import MAIN

    kind = acquisition(asked.by)
    recipe = trained_recipe(source, settings)
    user = _user(recipe, asked)
    ensemble, reader = open_ensemble(source, recipe)
    inputs = {asked.pairs or recipe.data.targets: source_hash(asked.pairs or recipe.data.targets)}
    inputs |= ensemble_hashes(source)
    with (
        closing(reader),
        runs.open_run(
            "hyre", "adapt", recipe, inputs=inputs, seed=recipe.seed, out=out, resume=resume
        ) as run,
    ):
        if asked.ask:
            done = _by_hand(run, ensemble, reader, recipe, user, asked.examples, kind)
        else:
            done = _labelled(ensemble, reader, recipe, user)
        digest = ensemble_digest(source / MAIN)
        weights = weigh(ensemble, done.known, [one.pair for one in done.labelled], recipe.adapt, digest)
        weights.write(run.path("weights.json"))
        write_jsonl(run.path(PAIRS), done.pairs())
        write_jsonl(run.path(STEPS), done.steps())
        rows = worth(ensemble, weights, done.others, recipe.eval.resamples, recipe.seed)
        results = run.results("hyre adapt", rows, gain(rows, ensemble, weights, done.others, recipe.seed))
        _draw(run, weights, done.history)
        run.finish(results)
        _tell(weights, user, run.directory)
        command = f"lmtools generate --prompt TEXT --best-of 4 --reward {source} --weights {run.directory}"
        runs.ending(results, f"files: {run.directory}/   (weights.json)   next: {command}")
        value = {"run": str(run.directory), "user": user.name, **weights.summary(), **asdict(results)}
        emit(value, json)


def _labelled(ensemble: "Ensemble", reader: Any, recipe: "HyreRecipe", user: "User") -> "Adaptation":
    """The labels in the user's file."""
    from lmtools.hyre.adapt import adapted
    from lmtools.hyre.pairs import read_features
    from lmtools.hyre.personal import margins
    from lmtools.hyre.session import Adaptation, shown

    found = read_features(reader, {"known": user.known, "others": user.others}, "pairs")
    known, others = (margins(ensemble, found[name], recipe.adapt) for name in ("known", "others"))
    steps = [adapted(known[:n], ensemble.fit, recipe.adapt)[0] for n in range(len(known) + 1)]
    both = list(map(shown, user.known)), list(map(shown, user.others))
    return Adaptation(user.name, *both, known, others, steps)


def _by_hand(
    run: "Run",
    ensemble: "Ensemble",
    reader: Any,
    recipe: "HyreRecipe",
    user: "User",
    wanted: int,
    kind: "Acquisition",
) -> "Adaptation":
    """Labels given in the terminal. Those of the file are not looked at, so there is nothing to test on."""
    from lmtools.cli.ask import ask, weight_line
    from lmtools.hyre.adapt import before
    from lmtools.hyre.pairs import messages
    from lmtools.hyre.session import Adaptation, Session, answered, candidates
    from lmtools.models.features import AnsweredPrompt

    found = candidates(user.others, recipe.seed)
    both = [AnsweredPrompt(messages(one.turns), text) for one in found for text in (one.first, one.second)]
    rewards = ensemble.rewards(reader.read(both, "pairs"), recipe.adapt)
    journal = run.journal("answers.jsonl")
    session = Session(
        found, rewards[::2] - rewards[1::2], ensemble.fit, recipe.adapt, kind, recipe.seed, journal
    )
    if not ask(session, wanted=wanted, tell=weight_line(ensemble.sources)):
        raise KeyboardInterrupt  # what was answered is kept, and --resume goes on
    labelled = [answered(candidate, choice) for candidate, choice in session.labelled]
    history = [before(ensemble.fit, recipe.adapt), *session.history]
    return Adaptation(user.name, labelled, (), session.margins_labelled(), rewards[:0], history)


def _user(recipe: "HyreRecipe", asked: Asked) -> "User":
    """The user's pairs; with ``--ask`` none of them is labelled yet."""
    from lmtools.hyre.personal import read_user, split

    name, pairs = read_user(asked.pairs or recipe.data.targets, asked.target, one_of_many=asked.pairs is None)
    if asked.pairs is None and asked.target is None:
        say(f"adapting to {name!r}, the first user in {recipe.data.targets} (--target names another)")
    return split(name, pairs, 0 if asked.ask else asked.examples, recipe.seed)


def _draw(run: "Run", weights: "Weights", history: "Sequence[Floats]") -> None:
    from lmtools.report.hyre_weights import write_weight_plots

    examples = len(weights.examples)
    write_weight_plots(run.path("plots"), weights.weights, weights.sources, history, examples)


def _tell(weights: "Weights", user: "User", directory: Path) -> None:
    """What became of the heads, for a person."""
    heavy = ", ".join(f"{name} {weight:.3f}" for name, weight in weights.heaviest()[:5])
    say(f"{user.name}: {len(weights.examples)} labelled pairs")
    say(f"effective heads {weights.effective_heads:.1f} of {len(weights.weights)}; most weight: {heavy}")
    if not user.others:
        say("no pair is left to test on")


def show_plan(source: Path | None, asked: Asked, settings: Sequence[str], json: bool) -> None:
    """``--dry-run`` of an adaptation: which run, which user, how many pairs; reads no model."""
    from lmtools.cli.hyre_run import DEFAULT
    from lmtools.hyre.recipe import HyreRecipe
    from lmtools.hyre.reward import trained_recipe
    from lmtools.models.recipes import load_model_recipe

    acquisition(asked.by)
    recipe = (
        trained_recipe(source, settings)
        if source is not None
        else load_model_recipe(HyreRecipe, DEFAULT, settings, default=DEFAULT)
    )
    user = _user(recipe, asked)
    plan = {
        "run": source,
        "user": user.name,
        "examples": len(user.known),
        "others": len(user.others),
        "first": None if not user.known else user.known[0].model_dump(mode="json"),
        "adapt": recipe.adapt.model_dump(mode="json"),
    }
    emit(plan, json)
    where = f"the ensemble of {source}" if source else f"an ensemble that is trained first ({DEFAULT})"
    say(f"{where} is adapted to {user.name}: {len(user.known)} labelled pairs, {len(user.others)} to test on")
