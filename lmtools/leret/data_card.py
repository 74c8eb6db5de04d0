"""The card of a run's training files. Its front matter makes a data set of the run directory, which
`datasets.load_dataset` and the command line of TRL then take by the name of the directory alone.
"""

from pathlib import Path

import yaml

from lmtools.core.files import write_text
from lmtools.core.manifest import Manifest
from lmtools.leret.recipe import LeretRecipe
from lmtools.models.card import FILE, inputs_table, making
from lmtools.models.published import base_of_card, code

CONFIGS = {"sft": "`prompt` and `completion`", "preferences": "`prompt`, `chosen` and `rejected`"}
TRAINERS = {"sft": "sft", "preferences": "dpo"}


def write_data_card(directory: Path, recipe: LeretRecipe, manifest: Manifest) -> None:
    """Write the card of a run's `sft.jsonl` and `preferences.jsonl`; one that is there stays.

    Raises:
        MachineError: it cannot be written.
    """
    names = [name for name in CONFIGS if _holds(directory / f"{name}.jsonl")]
    if names and not (directory / FILE).exists():
        write_text(directory / FILE, data_card(names, recipe, manifest))


def data_card(names: list[str], recipe: LeretRecipe, manifest: Manifest) -> str:
    """The text of the card; ``names`` are the files of `sft` and `preferences` that hold something."""
    front = {
        "configs": [{"config_name": name, "data_files": f"{name}.jsonl"} for name in names],
        "tags": ["lmtools", "leret", "retrieval", "query-generation", "trl"],
    }
    base = base_of_card(recipe.model.name)
    commands = "\n".join(
        f"trl {TRAINERS[name]} --model_name_or_path {base.loaded} --dataset_name DIR --dataset_config {name} "
        f"--max_length {recipe.train.max_length} --use_peft --output_dir {name}-policy"
        for name in names
    )
    files = "\n".join(f"- {code(name + '.jsonl')}: {CONFIGS[name]}" for name in names)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# Search queries that were tried\n\n"
        f"What a language model is to learn from having tried search queries (LeReT), written with "
        f"{code(base.name)} and in the markup of its chat template: the text is complete as it stands.\n\n"
        f"{files}\n\n## Train on it with TRL\n\n`DIR` is this directory. {base.hint}\n\n"
        f"```bash\n{commands}\n```\n\nOn a machine without a GPU add `--use_cpu`.\n\n"
        f"```python\ndatasets.load_dataset('DIR', '{names[-1]}', split='train')\n```\n\n"
        f"## Made from\n\n{inputs_table(manifest)}\n\n## How it was made\n\n{making(manifest, None)}\n"
    )


def _holds(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
