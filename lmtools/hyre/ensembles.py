"""The ensembles of a run: the main one, those it is compared with, and a single conventional head.

ensemble/          the main one           ensembles/NAME/    the others, by the name of their source
single/            one head without a prior
"""

from dataclasses import dataclass
from pathlib import Path

from lmtools.core.pace import Work
from lmtools.core.run import Run
from lmtools.core.wrong_run import wrong_run
from lmtools.hyre.ensemble import SETTINGS, Ensemble, EnsembleInfo, load_ensemble, save_ensemble
from lmtools.hyre.make import Training, make_ensemble
from lmtools.hyre.recipe import AdaptSettings, HyreRecipe, SourceName, SourceSettings
from lmtools.hyre.standard import Features

MAIN, OTHERS, SINGLE = "ensemble", "ensembles", "single"
ONE = "single head"
"""The name of one conventional head."""


@dataclass(frozen=True)
class Ensembles:
    """``by_name``: the main ensemble first; ``single``: one head."""

    by_name: dict[str, Ensemble]
    single: Ensemble

    @property
    def main(self) -> Ensemble:
        """The run's own ensemble."""
        return next(iter(self.by_name.values()))


def train_ensembles(
    recipe: HyreRecipe,
    data: Training,
    info: EnsembleInfo,
    run: Run,
    own_head: Features | None = None,
    device: str = "cpu",
) -> Ensembles:
    """Train and write what is not there yet.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
        RecipeError: a source cannot make as many heads.
    """

    def made(name: str, sources: tuple[SourceSettings, ...], folder: Path, alone: bool = False) -> Ensemble:
        if not (folder / SETTINGS).exists():
            # One conventional head, and a limit that is the prior's alone, take no other head in.
            apart = alone or sources[0].source == "gaussian_limit"
            settings = recipe.train.model_copy(update={"prior_scale": 0.0}) if alone else recipe.train
            with run.stage(f"heads {name}", Work):
                found = make_ensemble(
                    sources,
                    data,
                    info,
                    settings,
                    recipe.seed,
                    own_head=None if apart else own_head,
                    device=device,
                    watch=lambda source: run.curve(name if name in (source, ONE) else f"{name}/{source}"),
                )
                save_ensemble(found, folder)
        return load_ensemble(folder)

    by_name = {recipe.name: made(recipe.name, recipe.heads, run.path(MAIN))}
    for source in others(recipe):
        same = (SourceSettings(source=source, count=recipe.heads_count),)
        by_name[source] = made(source, same, run.path(OTHERS, source))
    one = (SourceSettings(source="shared_base", count=1),)
    return Ensembles(by_name, made(ONE, one, run.path(SINGLE), alone=True))


def others(recipe: HyreRecipe) -> list[SourceName]:
    """The sources to compare the main ensemble with."""
    return [source for source in dict.fromkeys(recipe.compare) if source != recipe.name]


def load_ensembles(directory: Path, recipe: HyreRecipe) -> Ensembles:
    """The ensembles of a finished training.

    Raises:
        ModelError: a file is missing or broken.
        RunError: the directory holds no ensemble.
    """
    check_trained(directory)
    by_name = {recipe.name: load_ensemble(directory / MAIN)}
    for folder in sorted((directory / OTHERS).glob(f"*/{SETTINGS}")):
        by_name[folder.parent.name] = load_ensemble(folder.parent)
    return Ensembles(by_name, load_ensemble(directory / SINGLE))


def check_trained(directory: Path) -> None:
    """Whether a directory is a run of `lmtools hyre train`.

    Raises:
        RunError: it is none, or not finished.
    """
    parts = (directory / MAIN / SETTINGS, directory / SINGLE / SETTINGS, directory / "recipe.yaml")
    if not all(path.is_file() for path in parts):
        raise wrong_run(directory, "trained ensemble", "hyre train")


def settings_of(name: str, recipe: HyreRecipe) -> AdaptSettings:
    """How the ensemble of that name is adapted: the limit by its own rule, the others not by it."""
    main_is_limit = recipe.name == "gaussian_limit"
    if name == "gaussian_limit":
        return recipe.adapt.model_copy(update={"rule": "gaussian", "standardise": False})
    return recipe.adapt.model_copy(update={"rule": "reweight"}) if main_is_limit else recipe.adapt
