"""ATS's front door: every command of `lmtools ats` as one function that does the whole of it.

    run_fit               fit a head and all baselines, measure them on held-out tokens   `lmtools ats fit`
    run_evaluation        measure all of them on questions                                `lmtools ats eval`
    export                a model directory that vLLM serves with the head in it          `lmtools ats export`
    load_calibrated       a fitted run as a transformers model
    open_calibrated_run   a fitted run as a generator                        `lmtools generate --calibrated`
    plan                  check everything and estimate the work                          `--dry-run`

Each stage of a fit is a file of the run directory: an interrupted run goes on where it was, a finished one is
only read. What needs torch is imported when it is used: a recipe's faults are told at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lmtools.ats.recipe import AtsRecipe
from lmtools.calibration import api as calibration
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.scoring import ScorerSource
from lmtools.core.errors import RunError
from lmtools.core.files import absolute, sha256_file, sha256_text
from lmtools.core.manifest import MANIFEST, read_manifest
from lmtools.core.progress import Work, say
from lmtools.core.recipe_yaml import yaml_inline
from lmtools.core.results import read_results
from lmtools.core.run import METRICS, RECIPE, wrong_run
from lmtools.models.publish import FILE as CARD
from lmtools.models.publish import write_card
from lmtools.models.recipes import check_there, load_model_recipe, located_recipe, named_recipe
from lmtools.runs import FinishedRun, RunOptions, finish, open_run, push

if TYPE_CHECKING:
    from lmtools.ats.dry_run import Plan
    from lmtools.calibration.dry_run import Plan as EvaluationPlan
    from lmtools.generation.protocol import Generator
    from lmtools.models.load import LoadedModel

DEFAULT = "ats/quickstart"
HEAD = "head"
"""The folder of the recipe's head in a run."""
HEAD_SETTINGS = "head/head.json"


def run_fit(
    recipe: AtsRecipe | str = DEFAULT, out: Path | str | None = "runs/ats-fit",
    settings: Sequence[str] = (), *, name: str | None = None, push_to_hub: str | None = None,
    public: bool = False, **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """Fit a temperature head and the baselines of a recipe: `lmtools ats fit`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory; None: a new one under runs/.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        name: what the results call the recipe; None: as it is named here.
        push_to_hub: a repository of the Hugging Face hub for the head; ``public`` lets everybody read a new
            one.
        options: those of every run (``lmtools.runs.RunOptions``): ``resume``, ``track``.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_fit("my-ats.yaml", "runs/linear", ["head.kind=linear"])
    >>> results.row("linear").metrics["token-ece"].n > 0
    True
    """
    source, config = named_recipe(AtsRecipe, recipe, settings, default=DEFAULT)

    from lmtools.ats import fit, measure
    from lmtools.ats.card import head_card
    from lmtools.ats.dry_run import fitting_work, reading_work, vector_work
    from lmtools.ats.extract import load_base
    from lmtools.ats.inputs import prepare
    from lmtools.models.load import load_tokenizer

    inputs, name = prepare(config), name or source
    options.setdefault("command", ["lmtools.ats.run_fit", source, *settings])
    with open_run(
        "ats", "fit", config, inputs=inputs.hashes, seed=config.seed, out=out,
        reopen=push_to_hub is not None, **options,
    ) as run:  # fmt: skip
        if not run.writes:
            return FinishedRun(run.directory, run.results(name, ()))
        if run.path(METRICS).exists():
            results = read_results(run.path(METRICS))
        else:
            # The language model runs once; it is opened only if the cache lacks something, or for its output
            # layer, and then once for all.
            open_model = cache(lambda: load_base(config.model, inputs.files))
            with run.stage("read", partial(reading_work, inputs)):
                features = fit.read_features(inputs, open_model)
                data = fit.FitData(inputs, features, open_model)
                rows, tokens = (int(features.arrays[field][-1]) for field in ("rows", "tokens"))
                say(f"{len(features)} sequences, {rows:,} tokens, {tokens:,} of them before a response token")
            # Heads and baselines are all fitted on what it computed.
            heads = {}
            for method, (head, directory) in fit.head_directories(config, run).items():
                with run.stage(f"fit {method}", partial(fitting_work, inputs, head, rows)):
                    heads[method] = fit.fit_head(data, head, directory, run)
            with run.stage("fit baselines", partial(vector_work, inputs, tokens)):
                baselines = fit.fit_baselines(data, run)
            with run.stage("measure", Work):
                results = run.results(name, *measure.measure_tokens(data, heads, baselines))
            with run.stage("texts token by token", Work):
                method, first = next(iter(heads.items()))
                tokenizer = load_tokenizer(config.model, inputs.files)
                measure.write_token_texts(run.path(measure.FILE), data, method, first, tokenizer)
            fit.remove_training_states(run)
        write_card(run.path(HEAD), head_card(config.model, run.path(HEAD)), run.manifest, results)
        return finish(run, results, lambda: {"": run.path(HEAD)}, push_to_hub=push_to_hub, public=public)


def run_evaluation(
    fitted: Path | str, out: Path | str | None = "runs/ats-eval", settings: Sequence[str] = (), *,
    recipe: CalibrationRecipe | str = calibration.DEFAULT, name: str | None = None,
    lm_eval_out: Path | None = None, system: str = "ats", action: str = "eval", **options: Unpack[RunOptions],
) -> calibration.CalibrationRun:  # fmt: skip
    """Measure a fitted run on questions, its head and all its baselines: `lmtools ats eval`.

    Args:
        fitted: a run of ``lmtools ats fit``, or a head's directory.
        recipe: what is asked. Head and model are those of ``fitted``, unless ``settings`` change them; a
            recipe that is one already brings its own model.
        system, action: whose run directory it is, and of which command.

    Other arguments and errors are those of ``lmtools.calibration.api.run_evaluation``.

    >>> results = run_evaluation(
    ...     "runs/ats-fit", "runs/asked", ["tasks=[atlas-short]", "limit=2", "resamples=100"]
    ... )
    >>> [row.name for row in results.rows]
    ['uncalibrated', 'linear']
    """
    options.setdefault("command", ["lmtools.ats.run_evaluation", str(fitted), *settings])
    settings = [*head_settings(Path(fitted)), *settings]
    if isinstance(recipe, CalibrationRecipe):  # which settings do not change
        recipe = recipe.model_copy(update={"head": str(fitted)})
    return calibration.run_evaluation(
        recipe, out, settings, name=name, lm_eval_out=lm_eval_out, open_head=open_head, system=system,
        action=action, **options,
    )  # fmt: skip


def plan_evaluation(
    fitted: Path | str, settings: Sequence[str] = (), *,
    recipe: CalibrationRecipe | str = calibration.DEFAULT,
) -> "EvaluationPlan":  # fmt: skip
    """What ``run_evaluation`` would do; loads no weights: `lmtools ats eval --dry-run`.

    Raises:
        LmtoolsError: as the run itself would, as far as it can be told.
    """
    return calibration.plan(recipe, [*head_settings(Path(fitted)), *settings], open_head=open_head)


def open_head(recipe: CalibrationRecipe) -> ScorerSource:
    """What can be measured of the fitted run that a recipe's ``head`` names; loads no weights of the model.

    Raises:
        RunError: it holds no head, or two of one name.
        RecipeError: the recipe names a method that was not fitted.
        ModelError: a piece of it is missing or broken.
    """
    from lmtools.ats.artefact import check_fits, load_methods
    from lmtools.ats.calibrated import open_scorer

    run = Path(recipe.head or "")
    hashes = fit_hashes(run)
    return ScorerSource(
        methods=load_methods(run).only(recipe.methods).names,
        open=lambda: open_scorer(recipe.model, run, recipe.methods),
        hashes=hashes,
        check=partial(check_fits, run, recipe.model),
    )


@dataclass(frozen=True)
class Exported:
    """A calibrated model in ``path``, made from the head of ``run``; ``pushed``: where it was published."""

    run: Path
    path: Path
    pushed: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What the command prints with ``--json``."""
        pushed = {} if self.pushed is None else {"pushed": self.pushed}
        return {"run": str(self.run), "format": "vllm", "path": str(self.path), **pushed}


def export(
    fitted: Path | str, out: Path | str | None = None, *, push_to_hub: str | None = None, public: bool = False
) -> Exported:
    """Write the calibrated model as a directory that vLLM serves: `lmtools ats export`.

    Args:
        fitted: a run of ``lmtools ats fit``.
        out: a directory that is empty, or does not exist yet; None: ``vllm`` in the run.
        push_to_hub: a repository of the Hugging Face hub for it; ``public`` lets everybody read a new one.

    Raises:
        ModelError: vLLM cannot compute the head, or the model has changed.
        RunError: ``out`` is in use.
        MachineError: it cannot be written or sent.
    """
    from lmtools.ats.card import export_card
    from lmtools.ats.export import export_vllm

    run = Path(fitted)
    config = load_model_recipe(AtsRecipe, str(run / RECIPE), default=DEFAULT)
    check_there(config, run, "model.")
    written = export_vllm(run, Path(out) if out is not None else run / "vllm", config.model)
    if (run / MANIFEST).is_file():  # a head that was put there by hand has none
        results = read_results(run / METRICS) if (run / METRICS).is_file() else None
        card = export_card(config.model, run / HEAD)
        write_card(written, card, read_manifest(run / MANIFEST), results)
    say(f"wrote {written}; serve it with: vllm serve {written}")
    again = f"`hf upload {push_to_hub} {written}` sends it"
    return Exported(run, written, push(lambda: {"": written}, again, push_to_hub=push_to_hub, public=public))


def load_calibrated(run: Path | str) -> "LoadedModel":
    """The model of a fitted run with its head on it, for transformers: its logits are calibrated.

    Greedy text is the base model's; probabilities, and so sampled text, are not.

    Raises:
        ModelError: the run holds no head, its files are broken, or the model has changed.

    >>> loaded = load_calibrated("runs/ats-fit")
    >>> inputs = loaded.tokenizer("Which river", return_tensors="pt")
    >>> probabilities = loaded.model(**inputs).logits.softmax(dim=-1)
    >>> probabilities.shape[:2] == inputs.input_ids.shape
    True
    """
    from lmtools.ats.calibrated import calibrate
    from lmtools.ats.extract import load_base

    return calibrate(load_base(_recipe_here(run).model), Path(run))


def open_calibrated_run(run: Path | str) -> "Generator":
    """The model of a fitted run as a generator: it completes, scores and weighs options, calibrated.

    Prompts are texts that carry the model's chat markup, where it wants any.

    Raises:
        ModelError: the run holds no head, its files are broken, or the model has changed.

    >>> generator = open_calibrated_run("runs/ats-fit")
    >>> [logprobs] = generator.options(["Which river? (A) Seine (B) Rhine. Answer: "], ["A", "B"])
    >>> len(logprobs)
    2
    >>> generator.close()
    """
    from lmtools.ats.calibrated import open_calibrated

    return open_calibrated(_recipe_here(run).model, Path(run))


def _recipe_here(run: Path | str) -> AtsRecipe:
    """The recipe that a run was made with; its model at this machine's own precision."""
    recipe = load_model_recipe(AtsRecipe, str(Path(run) / RECIPE), ["model.dtype=auto"], default=DEFAULT)
    check_there(recipe, Path(run), "model.")
    return recipe


def plan(recipe: AtsRecipe | str = DEFAULT, settings: Sequence[str] = ()) -> "Plan":
    """Check everything, show one real sequence, estimate the work of a fit; loads no weights: `--dry-run`.

    Raises:
        LmtoolsError: as the run itself would, as far as it can be told.
    """
    _, config = named_recipe(AtsRecipe, recipe, settings, default=DEFAULT)

    from lmtools.ats.dry_run import dry_run

    return dry_run(config)


# Fitted runs as commands name them: which one, and what settings stand for it.


def find_fit(run: Path | None, root: Path = Path("runs")) -> Path:
    """The named fitted run, or the one under ``root`` that was finished last.

    Raises:
        RunError: it is none, or none is named and there is none.
    """
    if run is not None:
        if not (run / RECIPE).is_file() or not (run / HEAD_SETTINGS).is_file():
            raise wrong_run(run, "fitted head", "ats fit")
        return run
    # Metrics are the last thing that a fit writes, but other runs write them too; a quickstart's fit is a
    # folder of its run.
    finished = (*root.glob(f"*/{METRICS}"), *root.glob(f"*/ats/{METRICS}"))
    fits = [path for path in finished if (path.parent / HEAD_SETTINGS).is_file()]
    if not fits:
        raise RunError(f"no fitted head under {root}/", fix="fit one: lmtools ats fit")
    return max(fits, key=lambda path: path.stat().st_mtime).parent


def head_settings(fitted: Path | None) -> list[str]:
    """The settings of a measurement that name a fitted run, or a head alone, and the model it was fitted on.

    Raises:
        RunError: there is no such run.
    """
    return [] if fitted is None else [f"head={yaml_inline(str(fitted))}", *model_settings(fitted)]


def model_settings(fitted: Path) -> list[str]:
    """The setting that names the model of a fitted run; none for a head alone, which does not know it.

    Raises:
        RunError: there is no such run.
    """
    fit_hashes(fitted)
    if not (fitted / RECIPE).is_file():
        return []
    model = located_recipe(AtsRecipe, str(fitted / RECIPE), default=DEFAULT).model
    return [f"model={yaml_inline(model.model_dump(mode='json'))}"]


FITTED = ("head", "heads", "baselines.json", "vector.safetensors", "head.json", "head.safetensors")
"""What a run of `lmtools ats fit`, or a head's directory, holds of its methods."""


def fit_hashes(fitted: Path) -> dict[str, str]:
    """SHA-256 over the files of each fitted part of a run, by the part's path.

    Raises:
        RunError: the run holds none.
    """
    hashes = {}
    for part in FITTED:
        path = fitted / part
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        # Cards say nothing of the head that it does not say itself.
        files = [file for file in files if file.is_file() and file.name != CARD]
        lines = [f"{file.relative_to(fitted)} {sha256_file(file)}" for file in files]
        if lines:
            hashes[f"{absolute(str(fitted))}/{part}"] = sha256_text("\n".join(lines))
    if not hashes:
        raise RunError(
            f"{fitted}: holds no fitted head",
            fix="name a run of `lmtools ats fit`, or the head's folder in it",
        )
    return hashes
