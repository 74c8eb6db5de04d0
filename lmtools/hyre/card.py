"""What the card of an ensemble says, and which files of a run are published with it."""

from pathlib import Path

import yaml

from lmtools.core.recipe_yaml import parse_yaml
from lmtools.core.run import RECIPE
from lmtools.hyre.ensemble import read_info
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.train import MAIN, SINGLE
from lmtools.hyre.tuned import ADAPTER
from lmtools.models.publish import FILE, Artefact, base_of_card, code, public_name

LIMITS = (
    "Before it knows a user it is no reward model to rely on: adapt it with a few labelled pairs first, and "
    "look at its accuracy on pairs that were not learned from, which `lmtools hyre adapt` prints.",
    "Only rewards of answers to the same prompt can be compared.",
    "It can take a user's side only where its heads disagree: on what all training pairs agreed about, it "
    "keeps to the crowd.",
    "It belongs to that backbone, adapter and precision, by content: with others it is refused.",
)


def ensemble_card(recipe: HyreRecipe, directory: Path) -> Artefact:
    """The card of the main ensemble of a run, in ``directory``."""
    info, base = read_info(directory / MAIN), base_of_card(recipe.model.name, recipe.model.adapter)
    heads = ", ".join(f"{group.count} of {code(group.source)}" for group in info.groups)
    tuned = " The backbone was fine-tuned; `adapter/` of the run belongs to it." if recipe.lora else ""
    elsewhere = (
        " On another machine, `model.name` in `RUN/recipe.yaml` has to say where the base model is there."
        if base.option == "BASE"
        else ""
    )
    layers = ", ".join(str(layer) for layer in info.features.layers)
    return Artefact(
        title=f"Reward heads on {public_name(recipe.model.name)}",
        base=base,
        summary=f"An ensemble of reward heads ({heads}) on hidden states (layers {layers}, "
        f"{' and '.join(info.features.pooling)}) of a language model, trained on preference pairs of many "
        "people. A few labelled pairs of one user say which heads to listen to (HyRe, hypothesis "
        f"reweighting): no gradient step, no copy of the model for each user.{tuned}",
        use="`RUN` is the run directory, or the folder that `hf download REPO --local-dir RUN` makes of its "
        "repository on the hub.\n\n```bash\n"
        "lmtools hyre adapt --run RUN --pairs mine.jsonl --examples 5 --out mine\n"
        "lmtools hyre score --run RUN --weights mine --input answers.jsonl\n"
        'lmtools generate --prompt "What is an atom?" --best-of 8 --reward RUN --weights mine\n```\n\n'
        f"`mine.jsonl` holds `prompt`, `chosen` and `rejected` a line.{elsewhere}",
        limits=LIMITS,
        library="lmtools",
        tags=["hyre", "reward-model", "preference"],
        measured="How each ensemble of the run fits the pairs it was trained on, which says whether it has "
        "learned and is diverse, not how good it is for a user; `lmtools hyre eval` measures that.",
    )


def published(directory: Path) -> dict[str, Path | str]:
    """Path in a repository -> what is sent there of a run: all that adapting and scoring read, no more."""
    parts = {name: directory / name for name in (MAIN, SINGLE, ADAPTER) if (directory / name).is_dir()}
    return {FILE: directory / MAIN / FILE, RECIPE: _recipe(directory / RECIPE), **parts}


def _recipe(path: Path) -> str:
    """The run's recipe, its data by names that tell no path."""
    recipe = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    data = recipe.get("data")
    if isinstance(data, dict):
        recipe["data"] = {
            key: public_name(value) if isinstance(value, str) else value for key, value in data.items()
        }
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
