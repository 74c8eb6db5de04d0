"""What the cards of a temperature head and of a model exported with one say."""

import shlex
from pathlib import Path

from lmtools.ats.artefact import HeadSettings, read_settings
from lmtools.models.publish import Artefact, Base, base_of_card, code, public_name
from lmtools.models.spec import ModelSpec

LIMITS = (
    "Confidence is brought nearer to the share of right answers on text like what it was fitted on, in the "
    "same layout (chat markup or plain text); elsewhere measure it: `lmtools eval calibration`.",
    "It changes probabilities, never which token is the most probable one: greedy answers stay as they were.",
    "It belongs to that model by content: on other weights or another tokenizer it is refused.",
)
MEASURED = (
    "On tokens that were held out of the fit, each method in a row: the loss it was fitted with, negative "
    "log-likelihood in nats, expected calibration error of the next token, mean multiplier of logits. "
    "What it does to answers, `lmtools ats eval` measures."
)
METRICS = ("loss", "nll", "token-ece", "multiplier")


def head_card(spec: ModelSpec, directory: Path) -> Artefact:
    """The card of the head in ``directory``, fitted on the model of ``spec``."""
    base, settings = base_of_card(spec.name, spec.adapter), read_settings(directory)
    model = f"--model {shlex.quote(base.option)}"
    model += " --set model.adapter=ADAPTER" if base.adapter else ""
    return Artefact(
        title=f"A temperature head for {base.name}",
        base=base,
        summary=f"{_kind(settings, base)} It is not a model of its own.",
        use="`DIR` is this folder; `hf download REPO --local-dir DIR` fetches it from the hub.\n\n"
        f'```bash\nlmtools generate --calibrated DIR --prompt "What is an atom?" {model}\n'
        f"lmtools eval calibration --head DIR --task mine.jsonl {model}\n```\n\n"
        "Completions then carry the calibrated probability of each token, and a confidence.",
        limits=LIMITS,
        library="lmtools",
        tags=["ats", "calibration", "temperature-scaling"],
        measured=MEASURED,
        metrics=METRICS,
        compared="token-ece",
    )


def export_card(spec: ModelSpec, head: Path) -> Artefact:
    """The card of a model exported for vLLM with the head in ``head``."""
    base = base_of_card(spec.name, spec.adapter)
    weights = "the adapter merged into its weights" if base.adapter else "its weights unchanged"
    return Artefact(
        title=f"{base.name} with calibrated probabilities",
        base=base,
        summary=f"The whole model for vLLM, {weights}. {_kind(read_settings(head), base)}",
        use="`DIR` is this folder, or the name of its repository on the hub. vLLM needs lmtools beside it, "
        "whose plug-in knows the head.\n\n```bash\nvllm serve DIR\n```\n\n"
        "The `logprobs` of its answers are calibrated ones.",
        limits=(*LIMITS, "transformers would leave the head out without a word: use vLLM."),
        library="lmtools",
        relation="finetune",
        tags=["ats", "calibration", "temperature-scaling", "vllm"],
        pipeline="text-generation",
        measured=MEASURED,
        metrics=METRICS,
        compared="token-ece",
    )


def _kind(settings: HeadSettings, base: Base) -> str:
    loss = str(settings.loss.get("name", "a loss of its own")).replace("_", " ")
    return (
        f"A {code(settings.head.kind)} head (adaptive temperature scaling) predicts, for every token that "
        f"{code(public_name(base.name))} is about to write, by how much to sharpen or flatten its "
        f"probabilities, so that they say how often it is right. It was fitted on instructions with {loss}."
    )
