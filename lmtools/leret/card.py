"""What the cards of a policy and of the merged model say."""

import json
from pathlib import Path

from lmtools.core.results import Results
from lmtools.generation.vllm_adapters import RANKS
from lmtools.leret.evaluate import NAMES
from lmtools.leret.prompts import FIRST, LATER, ZERO_SHOT, query_messages
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.setup import policy_spec
from lmtools.leret.summary import last_recall
from lmtools.models.card import Artefact
from lmtools.models.chat import render
from lmtools.models.load import load_tokenizer
from lmtools.models.published import Base, base_of_card, code

QUESTION = "In which country was the painter of The Night Watch born?"
LIMITS = (
    "It writes search queries, and is not meant for conversation.",
    "It was taught by one retriever over one corpus, hop by hop; with others, measure it again: "
    "`lmtools leret eval --policy RUN --set data.corpus=FILE`.",
    "What its base model gets wrong, it may get wrong.",
)


def policy_card(recipe: LeretRecipe, directory: Path, results: Results) -> Artefact:
    """The card of a policy in ``directory``: an adapter, or a whole model."""
    base = base_of_card(recipe.model.name)
    prompt = code_of_prompt(recipe, directory)
    if not (directory / "adapter_config.json").is_file():
        return whole_model(base, prompt, results, "a fine-tuned")
    room = f"--enable-lora --max-lora-rank {_room(directory)}"
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


def _room(adapter: Path) -> int:
    rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("r", RANKS[0]))
    return next((size for size in RANKS if size >= rank), rank)
