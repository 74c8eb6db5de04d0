"""HyRe's front door: every command of `lmtools hyre`, and `lmtools eval reward`, as one function that does
the whole of it.

    run_training      read the pairs, train every ensemble; card and page          `lmtools hyre train`
    run_evaluation    measure ensembles on every target against every baseline     `lmtools hyre eval`
    adapt             a few labelled pairs become one user's weights               `lmtools hyre adapt`
    adapt_targets     the same for every target of a run, without measuring
    query             which pairs to label next                                    `lmtools hyre query`
    score             rewards of answers                                           `lmtools hyre score`
    load_reward       a trained run as a reward model that scores and adapts
    evaluate_reward   how often a reward model orders pairs as people do           `lmtools eval reward`
    plan, plan_adaptation, plan_reward: check everything, load no weights          `--dry-run`
    find_training     the run that is worked on where none is named

A training keeps each ensemble in its run directory, and an evaluation what it measured on each target: an
interrupted one goes on where it was, and of a finished one they are only read. ``adapt`` keeps a person's
answers, and otherwise it and ``evaluate_reward`` are computed anew when they are resumed, finished or not;
features come from the cache. What needs torch is imported when it is used: a recipe's faults are told first.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lmtools.core.errors import RunError
from lmtools.core.files import check_output, file_name, sha256_file, write_jsonl
from lmtools.core.progress import say
from lmtools.core.results import Results
from lmtools.core.run import METRICS, Run, check_unfinished, last_unfinished
from lmtools.data.sources import load_instructions, source_hash
from lmtools.hyre.recipe import HyreRecipe, RewardRecipe, check_reward, check_trainable
from lmtools.models.files import model_hashes
from lmtools.models.precision import describe_precision
from lmtools.models.publish import write_card
from lmtools.models.recipes import load_model_recipe, named_recipe
from lmtools.report.hyre_weights import write_weight_plots
from lmtools.report.label_curves import write_label_curves
from lmtools.runs import FinishedRun, RunOptions, finish, open_run, write_lm_eval

if TYPE_CHECKING:
    from lmtools.hyre.adapt import Weights
    from lmtools.hyre.dry_run import AdaptationPlan, Plan, RewardPlan
    from lmtools.hyre.reward import Rewarder
    from lmtools.hyre.session import Adaptation, Session

DEFAULT, REWARD = "hyre/quickstart", "hyre/reward"
"""The recipes where none is named: of ensembles, and of the measurement of a reward model."""


def run_training(
    recipe: HyreRecipe | str = DEFAULT, out: Path | str | None = "runs/hyre-train",
    settings: Sequence[str] = (), *, name: str | None = None, push_to_hub: str | None = None,
    public: bool = False, **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """Train the ensembles of a recipe on preference pairs: `lmtools hyre train`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory; None: a new one under runs/.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        name: what the results call the recipe; None: as it is named here.
        push_to_hub: a repository of the Hugging Face hub for the ensembles; ``public`` lets everybody read a
            new one.
        options: those of every run (``lmtools.runs.RunOptions``): ``resume``, ``track``.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_training("my-hyre.yaml", "runs/axes", ["compare=[]"])
    >>> [row.name for row in results.rows]
    ['pca', 'single head']
    """
    source, config = named_recipe(HyreRecipe, recipe, settings, default=DEFAULT)
    check_trainable(config)

    from lmtools.hyre.card import ensemble_card, published
    from lmtools.hyre.inputs import prepare, train
    from lmtools.hyre.train import MAIN

    inputs = prepare(config)
    options.setdefault("command", ["lmtools.hyre.run_training", source, *settings])
    with (
        closing(inputs.reader),
        open_run(
            "hyre", "train", config, inputs=inputs.hashes, seed=config.seed, out=out,
            reopen=push_to_hub is not None, **options,
        ) as run,
    ):  # fmt: skip
        results = train(inputs, run, name or source)
        if run.writes:
            write_card(run.path(MAIN), ensemble_card(config, run.directory), run.manifest, results)
        files = partial(published, run.directory)
        return finish(run, results, files, push_to_hub=push_to_hub, public=public)


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun(FinishedRun):
    """A finished evaluation; ``ensemble`` is the name of the main one in its rows."""

    ensemble: str


def run_evaluation(
    trained: Path | str | None, out: Path | str | None = "runs/hyre-eval", settings: Sequence[str] = (),
    *, recipe: HyreRecipe | str | None = None, name: str | None = None, lm_eval_out: Path | None = None,
    **options: Unpack[RunOptions],
) -> EvaluatedRun:  # fmt: skip
    """Measure what a few labelled examples are worth, on every target: `lmtools hyre eval`.

    Args:
        trained: the training run; None: ensembles are trained first, in the same directory, as they always
            are for tables.
        recipe: what it is measured with; None: the training run's own recipe, or the default one.
        name: what the results call the recipe; None: as it is named here, or the training run.
        lm_eval_out: also write the results there as lm-evaluation-harness lays them out.

    Other arguments and errors are those of ``run_training``.

    >>> results = run_evaluation("runs/hyre-train", "runs/worth", ["eval.active=[]"])
    >>> 0 <= results.row("hyre/pca @5").metrics["accuracy"].value <= 1
    True
    """
    trained = None if trained is None else Path(trained)
    if trained is not None and recipe is None:
        from lmtools.hyre.reward import trained_recipe

        source, config = str(trained), trained_recipe(trained, settings, targets=True)
    else:
        source, config = named_recipe(HyreRecipe, recipe or DEFAULT, settings, default=DEFAULT)
    options.setdefault("command", ["lmtools.hyre.run_evaluation", source, *settings])
    if config.task != "preference":
        from lmtools.hyre.tabular import measure_tables, read_tables

        tables = read_tables(config)
        hashes = {table: source_hash(table) for table in config.data.tables}
        # Tables meet no language model, and so no precision.
        with open_run(
            "hyre", "eval", config, inputs=hashes, seed=config.seed, out=out, precision={}, **options
        ) as run:
            results = measure_tables(tables, config, run, name or source)
            return _finish_evaluation(run, results, config, lm_eval_out)

    from lmtools.hyre.evaluate import evaluate
    from lmtools.hyre.inputs import prepare, train_on_pairs, tuned_inputs
    from lmtools.hyre.reward import check_backbone
    from lmtools.hyre.train import ensemble_hashes, load_ensembles

    inputs = prepare(config, train=trained is None, targets=True)
    hashes = inputs.hashes if trained is None else {**inputs.hashes, **ensemble_hashes(trained)}
    with (
        closing(inputs.reader),
        open_run("hyre", "eval", config, inputs=hashes, seed=config.seed, out=out, **options) as run,
        ExitStack() as stack,
    ):
        if trained is None:
            inputs = tuned_inputs(inputs, run)
            stack.callback(inputs.reader.close)  # that of the tuned backbone is another one
            _, ensembles = train_on_pairs(inputs, run)
        else:
            ensembles = load_ensembles(trained, config)
            check_backbone(ensembles.main, inputs.reader, trained)
        results = evaluate(inputs, run, ensembles, name or source)
        return _finish_evaluation(run, results, config, lm_eval_out)


def _finish_evaluation(
    run: Run, results: Results, recipe: HyreRecipe, lm_eval_out: Path | None
) -> EvaluatedRun:
    """Figures, metrics, files for lm-evaluation-harness's readers."""
    if run.writes and results.rows:
        write_label_curves(results, run.path("plots"), f"hyre/{recipe.name}", recipe.task)
    finished = finish(run, results)
    write_lm_eval(lm_eval_out, run, results, recipe.model, "hyre", recipe.eval.resamples)
    return EvaluatedRun(run.directory, finished.results, ensemble=recipe.name)


@dataclass(frozen=True, kw_only=True)
class AdaptedRun(FinishedRun):
    """A finished adaptation of the run ``trained``: whose it is, and the weights, which are also its
    ``weights.json``."""

    user: str
    weights: "Weights"
    trained: Path

    def as_json(self) -> dict[str, Any]:
        """What the command prints with ``--json``."""
        weights, results = self.weights.summary(), asdict(self.results)
        return {"run": str(self.directory), "user": self.user, **weights, **results}


def adapt(
    trained: Path | str | None = None, out: Path | str | None = "runs/hyre-adapt",
    settings: Sequence[str] = (),
    *, examples: int = 5, pairs: str | None = None, target: str | None = None, by: str = "bald",
    ask: "Callable[[Session, int], bool] | None" = None, **options: Unpack[RunOptions],
) -> AdaptedRun:  # fmt: skip
    """Turn an ensemble into one user's reward model, by a few labelled pairs: `lmtools hyre adapt`.

    The weights are tested on the pairs that were not learned from. ``pairs.jsonl`` and ``steps.jsonl`` of the
    run tell of each pair and each label.

    Args:
        trained: the training run; None: the last one, or a new one on bundled pairs if the user is bundled
            too.
        examples: how many labelled pairs to learn from.
        pairs: the user's pairs; None: the targets of the run's recipe.
        target: of pairs of several users, this one; None: of ``pairs`` all, of the targets the first user.
        by: what makes a pair informative, where somebody is asked: bald, entropy, variance or random.
        ask: labels so many pairs of a session, in place of the labels in the file; False: the user has
            stopped, and what was answered is kept for ``resume``.

    Other arguments and errors are those of ``run_training``.

    Raises:
        KeyboardInterrupt: the user has stopped before the last label.

    >>> adapted = adapt("runs/hyre-train", "runs/short", examples=4, target="short")
    >>> adapted.user, len(adapted.weights.examples)
    ('short', 4)
    """
    from lmtools.hyre import personal
    from lmtools.hyre.ensemble import ensemble_digest
    from lmtools.hyre.reward import open_ensemble, trained_recipe
    from lmtools.hyre.session import PAIRS, STEPS
    from lmtools.hyre.train import MAIN, ensemble_hashes

    kind = personal.acquisition(by)
    run_directory, recipe = _run_and_recipe(trained, settings, pairs)
    user = personal.user_of(recipe, pairs, target, 0 if ask else examples)
    options.setdefault("command", ["lmtools.hyre.adapt", str(trained or ""), *settings])
    if run_directory is None:
        run_directory = _train_on_bundled_pairs(options["command"])
        recipe = trained_recipe(run_directory, settings)
    trained = run_directory
    ensemble, reader = open_ensemble(trained, recipe)
    source = pairs or recipe.data.targets
    hashes = {source: source_hash(source), **ensemble_hashes(trained)}
    with (
        closing(reader),
        open_run(
            "hyre", "adapt", recipe, inputs=hashes, seed=recipe.seed, out=out, **options
        ) as run,
    ):  # fmt: skip
        if ask is None:
            adaptation = personal.labels_of_file(ensemble, reader, user, recipe.adapt)
        else:
            session = personal.open_session(
                ensemble, reader, user, recipe, kind, run.journal("answers.jsonl")
            )
            if not ask(session, examples):
                raise KeyboardInterrupt  # what was answered is kept, and --resume goes on
            adaptation = personal.labels_of_session(user.name, session)
        # The weights by all labels, and what each pair and each label did.
        keys = [pair.pair for pair in adaptation.labelled]
        digest = ensemble_digest(trained / MAIN)
        weights = personal.fit_weights(ensemble, adaptation.labelled_margins, keys, recipe.adapt, digest)
        weights.write(run.path("weights.json"))
        write_jsonl(run.path(PAIRS), adaptation.pairs())
        write_jsonl(run.path(STEPS), adaptation.steps())
        # What they are worth, on the pairs that were not learned from.
        tested = adaptation.tested_margins
        rows = personal.held_out_accuracy(ensemble, weights, tested, recipe.eval.resamples, recipe.seed)
        differences = personal.difference_from_prior(rows, ensemble, weights, tested, recipe.seed)
        write_weight_plots(run.path("plots"), weights.weights, weights.sources, adaptation.history, len(keys))
        finished = finish(run, run.results("hyre adapt", rows, differences))
        return AdaptedRun(
            run.directory, finished.results, user=user.name, weights=weights, trained=trained
        )  # fmt: skip


def adapt_targets(
    trained: Path | str, folder: Path | str, examples: int = 5, settings: Sequence[str] = ()
) -> list[Path]:
    """Adapt a trained run to every target of its recipe: ``NAME.json``, as many weights files.

    Targets with fewer pairs than ``examples`` are left out. ``pairs.jsonl`` tells of all pairs of the others.
    ``settings`` change the run's recipe, as for ``--set``.

    Raises:
        RunError: the directory holds no trained ensemble.
        ModelError: the backbone has changed since.
        MachineError: the folder cannot be written to.

    >>> [path.name for path in adapt_targets("runs/hyre-train", "runs/weights")]
    ['long.json', 'short.json']
    """
    from lmtools.hyre import personal
    from lmtools.hyre.ensemble import ensemble_digest
    from lmtools.hyre.pairs import content, read_targets
    from lmtools.hyre.reward import open_ensemble, trained_recipe
    from lmtools.hyre.session import PAIRS
    from lmtools.hyre.train import MAIN

    trained, folder = Path(trained), Path(folder)
    recipe = trained_recipe(trained, settings, targets=True)
    ensemble, reader = open_ensemble(trained, recipe)
    digest = ensemble_digest(trained / MAIN)
    files: list[Path] = []
    adaptations: list[Adaptation] = []
    with closing(reader):
        for name, pairs in read_targets(recipe.data, recipe.seed).items():
            if len({content(pair) for pair in pairs}) < examples:
                continue
            user = personal.split_user(name, pairs, examples, recipe.seed)
            adaptation = personal.labels_of_file(ensemble, reader, user, recipe.adapt, name)
            keys = [pair.pair for pair in adaptation.labelled]
            weights = personal.fit_weights(ensemble, adaptation.labelled_margins, keys, recipe.adapt, digest)
            files.append(folder / f"{file_name(name)}.json")
            weights.write(files[-1])
            adaptations.append(adaptation)
    write_jsonl(folder / PAIRS, chain.from_iterable(adaptation.pairs() for adaptation in adaptations))
    return files


@dataclass(frozen=True)
class Query:
    """The pairs to label next, the most informative first, each with its ``score``."""

    user: str
    by: str
    pairs: list[dict[str, Any]]
    trained: Path
    output: Path | None = None


def query(
    trained: Path | str | None = None, *, count: int = 10, by: str = "bald", pairs: str | None = None,
    target: str | None = None, weights: Path | str | None = None, seed: int = 0,
    output: Path | str | None = None, command: Sequence[str] = ("lmtools.hyre.query",),
) -> Query:  # fmt: skip
    """Which pairs to label next: those whose labels would tell the ensemble most: `lmtools hyre query`.

    Labels are not looked at. Pairs that the weights were learned from are left out.

    Args:
        by: what makes a pair informative: bald, entropy, variance or random.
        trained, pairs, target: as ``adapt``.
        weights: the file or the run of ``adapt``; None: those before any example.
        output: also write the pairs to this file, as JSONL that can be labelled.
        command: what the manifest of a run that is trained first says was called.

    Raises:
        LmtoolsError: run, pairs or weights cannot be used as asked.

    >>> [len(pair["prompt"]) > 0 for pair in query("runs/hyre-train", count=2).pairs]
    [True, True]
    """
    from lmtools.hyre.pairs import read_features
    from lmtools.hyre.personal import acquisition, most_informative, read_user, split_user
    from lmtools.hyre.reward import open_reward

    check_output(output)
    kind = acquisition(by)
    run_directory, recipe = _run_and_recipe(trained, (), pairs, weights)
    name, members = read_user(pairs or recipe.data.targets, target, one_of_many=pairs is None)
    user = split_user(name, members, 0, seed)
    trained = run_directory or _train_on_bundled_pairs(command)
    reward = open_reward(trained, None if weights is None else Path(weights))
    with closing(reward.reader):
        features = read_features(reward.reader, {name: user.tested}, "pairs")[name]
    rows = most_informative(reward.ensemble, features, reward.weights, kind, count, seed)
    if output is not None:
        write_jsonl(Path(output), rows)
        say(f"wrote {output}: {len(rows)} pairs")
    return Query(name, by, rows, trained, None if output is None else Path(output))


@dataclass(frozen=True)
class Scored:
    """The lines of the input, each with its ``reward``."""

    results: list[dict[str, Any]]
    output: Path | None = None


def score(
    trained: Path | str | None,
    input: str,
    weights: Path | str | None = None,
    output: Path | str | None = None,
) -> Scored:
    """The rewards of prompts with their answers under given weights: `lmtools hyre score`.

    Only rewards of answers to the same prompt compare.

    Args:
        trained: the training run; None: the last one.
        input: JSONL of ``prompt`` and ``completion``, or of ``messages`` that end with the answer.
        weights: the file or the run of ``adapt``; None: those before any example.
        output: also write the lines with their rewards to this file.

    Raises:
        LmtoolsError: run, input or weights cannot be used as asked.
    """
    check_output(output)
    records = load_instructions(input)

    from lmtools.hyre.pairs import messages
    from lmtools.hyre.reward import open_reward
    from lmtools.models.features import AnsweredPrompt

    run = training_for(trained, input)
    reward = open_reward(run, None if weights is None else Path(weights))
    if weights is None:
        say("no --weights: rewards before any example; where heads come with opposites, all are alike")
    answered = [
        AnsweredPrompt(messages(turns), answer) for turns, answer in (record.split() for record in records)
    ]
    with closing(reward.reader):
        rewards = reward(answered)
    rows = [
        {**record.model_dump(mode="json", exclude_defaults=True), "reward": float(value)}
        for record, value in zip(records, rewards, strict=True)
    ]
    if output is not None:
        write_jsonl(Path(output), rows)
        say(f"wrote {output}: {len(rows)} answers")
    return Scored(rows, None if output is None else Path(output))


def load_reward(run: Path | str, weights: Path | str | None = None) -> "Rewarder":
    """The reward model of a trained run.

    Args:
        run: of `lmtools hyre train`.
        weights: the file or the run of `lmtools hyre adapt`; None: those before any example.

    Raises:
        RunError: the directory holds no trained ensemble.
        ModelError: the backbone has changed since, or the weights are for another ensemble.

    >>> with load_reward("runs/hyre-train") as reward:
    ...     reward.best("Name a river.", ["The Seine.", "The Seine."])
    'The Seine.'
    """
    from lmtools.hyre.reward import Rewarder, open_reward

    return Rewarder(open_reward(Path(run), None if weights is None else Path(weights)))


def evaluate_reward(
    recipe: RewardRecipe | str = REWARD, out: Path | str | None = "runs/eval-reward",
    settings: Sequence[str] = (), *, lm_eval_out: Path | None = None, **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """How often a reward model orders pairs as people do: `lmtools eval reward`.

    Any sequence-classification reward model, the single head of a training run, or its ensemble under a
    user's weights: the recipe says which. Without a model and a run the last one is measured, or a new one.

    Args:
        lm_eval_out: also write the results there as lm-evaluation-harness lays them out.

    Other arguments and errors are those of ``run_training``.

    >>> results = evaluate_reward(settings=["run=runs/hyre-train", "pairs=targets.jsonl", "resamples=100"])
    >>> [row.name for row in results.rows]
    ['single-head']
    """
    source, config = named_recipe(RewardRecipe, recipe, settings, default=REWARD)
    check_reward(config)

    from lmtools.hyre import reward
    from lmtools.hyre.adapt import weights_file
    from lmtools.hyre.session import PAIRS, keep_margins
    from lmtools.hyre.train import ensemble_hashes

    pairs = reward.read_reward_pairs(config)
    options.setdefault("command", ["lmtools.hyre.evaluate_reward", source, *settings])
    hashes = {config.pairs: source_hash(config.pairs)}
    if config.weights:
        hashes[config.weights] = sha256_file(weights_file(Path(config.weights)))
    if config.model is not None:
        run, model = None, config.model
        hashes |= model_hashes(config.model)
    else:
        run = _training(config.run, *_named(config)) or _train_on_bundled_pairs(options["command"])
        model = reward.trained_recipe(run).model
        hashes |= ensemble_hashes(run)
    with open_run(
        "eval", "reward", config, inputs=hashes, seed=config.seed, out=out,
        precision={"model": describe_precision(model)}, **options,
    ) as measured:  # fmt: skip
        with measured.stage("rewards"):
            tested, values = reward.preference_margins(config, run, pairs)
        keep_margins(measured.path(PAIRS), tested, values)
        rows = reward.reward_rows(reward.measured_name(config), values, config)
        results = measured.results(source, rows)
        finished = finish(measured, results)
        write_lm_eval(lm_eval_out, measured, results, model, "reward", config.resamples, limit=config.limit)
        return finished


def _named(recipe: RewardRecipe) -> tuple[str | None, ...]:
    """What a measurement is of, where it is not the bundled pairs under no user's weights."""
    bundled = recipe.pairs == RewardRecipe.model_fields["pairs"].default
    return recipe.weights, None if bundled else recipe.pairs


# Which run is worked on


def find_training(run: Path | str | None, root: Path = Path("runs")) -> Path | None:
    """The named training run, or the one that was finished last; None where none is named and there is none.

    Raises:
        RunError: the named one is none; or none is named, and the training that was begun last has not come
            to its end.
    """
    from lmtools.hyre.ensemble import SETTINGS
    from lmtools.hyre.train import MAIN, check_trained

    if run is not None:
        check_trained(Path(run))
        return Path(run)
    finished = (*root.glob(f"*/{METRICS}"), *root.glob(f"*/hyre/{METRICS}"))
    trained = [path.parent for path in finished if (path.parent / MAIN / SETTINGS).is_file()]
    last = max(trained, key=lambda directory: (directory / METRICS).stat().st_mtime, default=None)
    check_unfinished("hyre train", last, root)
    return last


def training_for(run: Path | str | None, named: str) -> Path:
    """The same, for something that the user named.

    Raises:
        RunError: as ``find_training``; or there is none: nothing that was trained on bundled pairs takes the
            place of what the user meant.
    """
    training = find_training(run)
    if training is None:
        raise RunError(
            f"no trained ensemble under runs/, and none is trained on bundled pairs for {named}",
            fix="train one first: `lmtools hyre train` learns from the bundled pairs, "
            "`lmtools hyre train --set data.train=FILE` from yours",
        )
    return training


def _training(run: Path | str | None, *inputs: object) -> Path | None:
    """``training_for`` the first of ``inputs`` that was named, else ``find_training``."""
    named = next((str(value) for value in inputs if value), None)
    return find_training(run) if named is None else training_for(run, named)


def _run_and_recipe(
    trained: Path | str | None, settings: Sequence[str], *inputs: object
) -> tuple[Path | None, HyreRecipe]:
    """The run that is worked on, None where one is trained first, and its recipe with these settings.

    Raises:
        RunError: as ``training_for``; settings of a training are inputs too.
        RecipeError: a setting is wrong.
    """
    from lmtools.hyre.reward import trained_recipe

    of_training = [setting for setting in settings if not setting.startswith(("adapt.", "eval.", "seed="))]
    run = _training(trained, *inputs, *of_training)
    if run is not None:
        return run, trained_recipe(run, settings, targets=not (inputs and inputs[0]))
    return None, load_model_recipe(HyreRecipe, DEFAULT, settings, default=DEFAULT)


def _train_on_bundled_pairs(command: Sequence[str]) -> Path:
    """A new run by the default recipe, or the end of one that such a command had begun."""
    begun = last_unfinished("hyre", "train")
    say(f"no trained ensemble under runs/: training one on bundled pairs first ({DEFAULT})")
    return run_training(DEFAULT, begun, resume=begun is not None, command=command).directory


# What would be done


def plan(
    recipe: HyreRecipe | str | None = None, settings: Sequence[str] = (), *,
    trained: Path | None = None, targets: bool = False,
) -> "Plan":  # fmt: skip
    """Check everything, show one real pair with its tokens, count what is read; loads no weights.

    Args:
        recipe: None: the training run's own, or the default one.
        trained: the training run that is measured; None: ensembles are trained.
        targets: whether the targets are read, for ``run_evaluation``.

    Raises:
        LmtoolsError: as the run itself would, as far as it can be told.
    """
    if trained is not None and recipe is None:
        from lmtools.hyre.reward import trained_recipe

        config = trained_recipe(trained, settings, targets=targets)
    else:
        _, config = named_recipe(HyreRecipe, recipe or DEFAULT, settings, default=DEFAULT)
    if not targets:
        check_trainable(config)

    from lmtools.hyre.dry_run import dry_run

    return dry_run(config, targets=targets, train=trained is None)


def plan_adaptation(
    trained: Path | None = None, settings: Sequence[str] = (), *, examples: int = 5,
    pairs: str | None = None, target: str | None = None, by: str = "bald", ask: bool = False,
) -> "AdaptationPlan":  # fmt: skip
    """Which run, which user, how many pairs; reads no model. Arguments and errors are those of ``adapt``."""
    from lmtools.hyre.dry_run import adaptation_plan
    from lmtools.hyre.personal import acquisition, user_of

    acquisition(by)
    run, recipe = _run_and_recipe(trained, settings, pairs)
    return adaptation_plan(run, user_of(recipe, pairs, target, 0 if ask else examples), recipe.adapt)


def plan_reward(recipe: RewardRecipe | str = REWARD, settings: Sequence[str] = ()) -> "RewardPlan":
    """What is measured on how many pairs; reads no model. Arguments and errors: ``evaluate_reward``."""
    _, config = named_recipe(RewardRecipe, recipe, settings, default=REWARD)
    check_reward(config)

    from lmtools.hyre.dry_run import reward_plan

    run = None if config.model else _training(config.run, *_named(config))
    return reward_plan(config, run)
