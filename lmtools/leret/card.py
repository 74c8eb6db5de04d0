"""Model cards of the policy and of the merged model, and the data card of the training files."""

import json
from pathlib import Path

import yaml

from lmtools.core.files import write_text
from lmtools.core.manifest import Manifest
from lmtools.core.progress import say
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.core.strings import printable
from lmtools.generation.vllm_engine import RANKS
from lmtools.leret.evaluate import NAMES, last_recall
from lmtools.leret.inputs import policy_spec
from lmtools.leret.prompts import FIRST, LATER, ZERO_SHOT, query_messages
from lmtools.leret.recipe import LeretRecipe
from lmtools.models.chat import render
from lmtools.models.load import load_tokenizer
from lmtools.models.merge import write_merged
from lmtools.models.publish import (
    FILE,
    Artefact,
    Base,
    base_of_card,
    code,
    inputs_table,
    provenance,
    write_card,
)

QUESTION = "In which country was the painter of The Night Watch born?"
LIMITS = (
    "It writes search queries, and is not meant for conversation.",
    "It was taught by one retriever over one corpus, hop by hop; with others, measure it again: "
    "`lmtools leret eval --policy RUN --set data.corpus=FILE`.",
    "What its base model gets wrong, it may get wrong.",
)


MERGED = "merged"
"""The folder of the merged model in a run."""


def write_cards(run: Run, recipe: LeretRecipe, results: Results, merge: bool = False) -> None:
    """The cards of a run's training files and policy and, with ``merge``, the merged model and its card.

    Raises:
        ModelError: the base model cannot be loaded to be merged.
        MachineError: the merged model cannot be written.
    """
    policy, merged = run.path("policy"), run.path(MERGED)
    if not run.writes or not policy.is_dir():
        return
    write_data_card(run.directory, recipe, run.manifest)
    write_card(policy, policy_card(recipe, policy, results), run.manifest, results)
    spec = policy_spec(recipe, policy)
    if merge and spec.adapter is None:
        say("policy/ is a whole model already (train.full): there is no adapter to merge")
    elif merge:
        if not merged.exists():
            with run.stage("merge"):
                write_merged(spec, merged)
        write_card(merged, merged_card(recipe, merged, results), run.manifest, results)


def published(run: Path, merge: bool) -> dict[str, Path | str]:
    """What is published of a training: the merged model where one was made, else the policy."""
    return {"": run / MERGED if merge and (run / MERGED).exists() else run / "policy"}


def policy_card(recipe: LeretRecipe, directory: Path, results: Results) -> Artefact:
    """The card of a policy in ``directory``: an adapter, or a whole model."""
    base = base_of_card(recipe.model.name)
    prompt = code_of_prompt(recipe, directory)
    if not (directory / "adapter_config.json").is_file():
        return whole_model(base, prompt, results, "a fine-tuned")
    room = f"--enable-lora --max-lora-rank {_lora_rank(directory)}"
    serve = f"vllm serve {base.loaded} {room} --lora-modules queries=DIR"
    load = (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("DIR")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{base.loaded}")\n'
        'model = PeftModel.from_pretrained(model, "DIR")\n'
    )
    return _artefact(base, "a LoRA adapter for", "peft", "adapter", load + prompt, serve, results)


def merged_card(recipe: LeretRecipe, directory: Path, results: Results) -> Artefact:
    """The card of the merged model in ``directory``."""
    prompt = code_of_prompt(recipe, directory)
    return whole_model(base_of_card(recipe.model.name), prompt, results, "a LoRA adapter merged into")


def whole_model(base: Base, prompt: str, results: Results, kind: str) -> Artefact:
    """The card of a model that is loaded without PEFT."""
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("DIR")\n'
        'model = AutoModelForCausalLM.from_pretrained("DIR")\n'
    )
    return _artefact(base, kind, "transformers", "finetune", load + prompt, "vllm serve DIR", results)


def code_of_prompt(recipe: LeretRecipe, directory: Path) -> str:
    """Python that asks ``model`` as it was trained to be asked, with the model's own markup spelled out."""
    tokenizer = load_tokenizer(policy_spec(recipe, directory))
    prompt = render(tokenizer, query_messages(ZERO_SHOT, "QUESTION", ()))
    return (
        f"prompt = {prompt!r}\n"
        f"prompt = prompt.replace({'QUESTION'!r}, {QUESTION!r})\n"
        'inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)\n'
        f"tokens = model.generate(**inputs, max_new_tokens={recipe.hop.max_query_tokens}, do_sample=False)\n"
        'print(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))\n'
    )


def _artefact(
    base: Base, kind: str, library: str, relation: str, python: str, serve: str, results: Results
) -> Artefact:
    last = results.rows[-1].name if results.rows else ""
    mine = last in (NAMES["sft"], NAMES["trained"], "preference")
    this = f" The row {code(last)} is this policy." if mine else ""
    return Artefact(
        title=f"A search-query writer on {base.name}",
        base=base,
        summary=f"This is {kind} {code(base.name)} that writes search queries: it has tried queries, seen "
        "what a retriever found with each, and learnt from the better ones (LeReT: context-distillation SFT "
        "and preference optimisation). Asked a question, it answers with the first query; told what "
        "that found, with the next.",
        use="`DIR` is this folder, or the name of its repository on the hub.\n\n"
        f"```python\n{python}```\n\n```bash\n{serve}\n"
        f'lmtools leret search "{QUESTION}" --policy RUN      # in the run that made it: all hops\n```\n\n'
        f"In later hops the user's text begins with {code(LATER)} in place of {code(FIRST)}, and before "
        "the question stand the passages found so far, one a line, as `TITLE: TEXT`.",
        limits=LIMITS,
        library=library,
        relation=relation,
        tags=["leret", "retrieval", "query-generation", *(["lora"] if library == "peft" else [])],
        pipeline="text-generation",
        measured="Share of the gold passages found (`recall`) and average precision (`ap`) after each hop, "
        f"on the test questions.{this}",
        compared=last_recall(results) if results.rows else "",
    )


def _lora_rank(adapter: Path) -> int:
    rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("r", RANKS[0]))
    return next((size for size in RANKS if size >= rank), rank)


# The data card: the front matter of README.md makes a data set of the run directory, which
# `datasets.load_dataset` and the command line of TRL then take by the name of the directory alone.

CONFIGS = {"sft": "`prompt` and `completion`", "preferences": "`prompt`, `chosen` and `rejected`"}
TRAINERS = {"sft": "sft", "preferences": "dpo"}


def write_data_card(directory: Path, recipe: LeretRecipe, manifest: Manifest) -> None:
    """Write the card of a run's `sft.jsonl` and `preferences.jsonl`; one that is there stays.

    Raises:
        MachineError: it cannot be written.
    """
    names = [name for name in CONFIGS if _has_records(directory / f"{name}.jsonl")]
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
    return printable(
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# Search queries that were tried\n\n"
        f"What a language model is to learn from having tried search queries (LeReT), written with "
        f"{code(base.name)} and in the markup of its chat template: the text is complete as it stands.\n\n"
        f"{files}\n\n## Train on it with TRL\n\n`DIR` is this directory. {base.hint}\n\n"
        f"```bash\n{commands}\n```\n\nOn a machine without a GPU add `--use_cpu`.\n\n"
        f"```python\ndatasets.load_dataset('DIR', '{names[-1]}', split='train')\n```\n\n"
        f"## Made from\n\n{inputs_table(manifest)}\n\n## How it was made\n\n{provenance(manifest, None)}\n"
    )


def _has_records(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
