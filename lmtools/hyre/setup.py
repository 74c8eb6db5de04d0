"""From a recipe to what training and measuring work with: the pairs, the reader of features, the hashes."""

from dataclasses import dataclass

from lmtools.data.records import Preference
from lmtools.data.sources import source_hash
from lmtools.generation.open_features import open_features
from lmtools.hyre.lora import check_lora
from lmtools.hyre.pairs import read_targets, read_training
from lmtools.hyre.recipe import HyreRecipe
from lmtools.models.features import FeatureReader
from lmtools.models.hashes import model_hashes


@dataclass(frozen=True)
class Setup:
    """What a run on pairs works with; ``inputs`` are the SHA-256 of everything that was read.

    ``train`` is empty where an ensemble is there already, ``targets`` where nothing is measured.
    """

    recipe: HyreRecipe
    reader: FeatureReader
    train: tuple[Preference, ...]
    targets: dict[str, list[Preference]]
    inputs: dict[str, str]


def prepare(recipe: HyreRecipe, *, train: bool = True, targets: bool = False) -> Setup:
    """Read the pairs, find the model, hash both; loads no weights.

    Args:
        train: whether to read the pairs to learn from, and ``targets`` those of the users.

    Raises:
        RecipeError: the backbone cannot be fine-tuned, since it has an adapter.
        DataError: something is wrong with the pairs.
        ModelError: the model or its adapter cannot be used, or gives no such features.
        MachineError: a download failed.
    """
    if train:
        check_lora(recipe)
    pairs = read_training(recipe.data, recipe.seed) if train else []
    users = read_targets(recipe.data, recipe.seed) if targets else {}
    reader = open_features(recipe.model, recipe.features)
    wanted = [recipe.data.train] * train + [recipe.data.targets] * targets
    inputs = {source: source_hash(source) for source in wanted} | model_hashes(recipe.model)
    return Setup(recipe, reader, tuple(pairs), users, inputs)
