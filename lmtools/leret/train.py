"""`lmtools leret train`: explore, build training data, SFT, preference optimisation, measure; N times over.

iterations/N/samples.jsonl, sft.jsonl, preferences.jsonl   what was tried, and what is learnt from it
iterations/N/samples.questions.jsonl                       the questions that these were tried for
iterations/N/sft/, iterations/N/policy/                    the two checkpoints of an iteration
iterations/N/sft.log.jsonl, policy.log.jsonl               loss and learning rate, step by step
samples.jsonl, sft.jsonl, preferences.jsonl, policy/       the same for the whole run
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import library_writes, write_json, write_jsonl
from lmtools.core.progress import first_process, progress, say
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.stored import read_lines
from lmtools.data.records import Question
from lmtools.leret.dataset import preference_rows, sft_rows
from lmtools.leret.evaluate import write_questions
from lmtools.leret.explore import Explorers, Group, earnings, sample_rows
from lmtools.leret.few_shot import few_shot_prompts
from lmtools.leret.inputs import LeretInputs, answerer_spec, open_policy, policy_spec, slices
from lmtools.leret.policy import Policy
from lmtools.leret.processes import wait_for_everyone
from lmtools.leret.prompts import write_prompts
from lmtools.leret.recipe import LeretRecipe, TrainSettings
from lmtools.leret.rewards import Reward, answer_reward, title_reward
from lmtools.leret.workload import exploring, learning
from lmtools.models.load import LoadedModel, load
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

if TYPE_CHECKING:
    from lmtools.leret.trainer import LogCallback, Mixed

FILES = ("samples.jsonl", "sft.jsonl", "preferences.jsonl")


def explorers_for(
    inputs: LeretInputs, policy: Policy, answerer: Policy | None, questions: Sequence[Question], run: Run
) -> Explorers:
    """The explorers of an iteration; few-shot prompts are bootstrapped once a run, with its first policy."""
    recipe = inputs.recipe
    explorers = Explorers(
        policy, inputs.retriever, reward_for(inputs, answerer), {"first": (), "later": ()}, recipe.hop,
        recipe.explore, recipe.seed,
    )  # fmt: skip
    if "few-shot" in (*recipe.explore.first, *recipe.explore.later):
        few_shot = few_shot_prompts(explorers, questions, run.journal())
        write_prompts(run.path("prompts.json"), few_shot)
        return replace(explorers, few_shot=few_shot)
    return explorers


def reward_for(inputs: LeretInputs, answerer: Policy | None) -> Reward:
    """The recipe's reward; an answer reward asks the answerer."""
    name = inputs.recipe.explore.reward
    if answerer is None:
        return title_reward(name)
    return answer_reward(name, answerer, inputs.retriever, inputs.recipe.hop)


def answerer_beside(policy: Policy, spec: ModelSpec, recipe: LeretRecipe) -> Policy | None:
    """What answers while ``policy``, opened from ``spec``, explores; None where the reward needs no answers.

    The policy itself or its own engine where the model is the same: two engines share no GPU.
    """
    if not recipe.explore.reward.startswith("answer-"):
        return None
    answerer = answerer_spec(recipe)
    if answerer == spec:
        return policy
    if answerer == spec.model_copy(update={"adapter": None}) and hasattr(policy.generator, "with_adapter"):
        return replace(policy, generator=policy.generator.with_adapter(None))
    return open_policy(answerer, recipe)


def explore_iteration(
    inputs: LeretInputs,
    spec: ModelSpec,
    iteration: int,
    questions: Sequence[Question],
    run: Run,
    folder: Path,
) -> None:
    """Explore a slice of questions and write the iteration's three files, each in one step."""
    with ExitStack() as opened:
        policy = open_policy(spec, inputs.recipe)
        opened.callback(policy.close)
        answerer = answerer_beside(policy, spec, inputs.recipe)
        if answerer is not None:
            opened.callback(answerer.close)
        explorers = explorers_for(inputs, policy, answerer, inputs.train, run)
        with progress(len(questions), f"exploring, iteration {iteration}") as bar:
            groups = list(explorers.explore(questions, iteration, run.journal(), bar))
        by_id = {question.id: question for question in questions}
        build = (groups, by_id, policy, inputs.retriever, inputs.recipe)
        write_jsonl(folder / "sft.jsonl", list(sft_rows(*build)))
        write_jsonl(folder / "preferences.jsonl", list(preference_rows(*build)))
        write_json(folder / "explorers.json", earnings(groups))
        write_questions(folder / "samples.questions.jsonl", questions)
        # Last, since its presence says that all the others are there.
        write_jsonl(folder / "samples.jsonl", sample_rows(groups))
    report_explorers(groups)


def report_explorers(groups: Sequence[Group]) -> None:
    """Which explorer's queries earned what."""
    say(f"{'explorer':<24}{'queries':>9}{'reward':>9}{'best':>8}")
    for name, row in earnings(groups).items():
        say(f"{name:<24}{row['queries']:>9.0f}{row['reward']:>9.3f}{row['best']:>8.1%}")


def train_policy(inputs: LeretInputs, run: Run) -> Path:
    """All iterations of a run; returns the final policy's directory. What is there already is not redone."""
    recipe = inputs.recipe
    directory: Path | None = None
    for iteration, questions in enumerate(slices(inputs.train, recipe.train.iterations), 1):
        folder = run.path("iterations", str(iteration))
        if not (folder / "samples.jsonl").exists():
            with run.stage(f"explore {iteration}", partial(exploring, recipe, questions)):
                if run.writes:
                    explore_iteration(
                        inputs, policy_spec(recipe, directory), iteration, questions, run, folder
                    )
        wait_for_everyone()
        for stage in ("sft", "policy"):
            target = folder / stage
            if not target.exists():
                _train_stage(recipe, stage, directory, folder, iteration, run)
            directory = target if target.exists() else directory
    if directory is None:
        raise DataError(
            "nothing was learnt: no query that was tried found a gold passage",
            fix="more explorers (explore.first, explore.later), more questions, or a larger model",
        )
    if run.writes:
        _publish(run, recipe.train.iterations, directory)
    wait_for_everyone()
    return run.path("policy")


def _train_stage(
    recipe: LeretRecipe, stage: str, start: Path | None, folder: Path, iteration: int, run: Run
) -> None:
    """One SFT or preference stage, from checkpoint ``start`` to ``folder/stage``; nothing where it is off."""

    settings: Any = recipe.train.sft if stage == "sft" else recipe.train.preference
    file = folder / ("sft.jsonl" if stage == "sft" else "preferences.jsonl")
    rows = list(read_lines(file, _texts, explored_anew(folder)))
    if not settings.enabled:
        return
    if not rows:
        say(f"{file.name} is empty: this stage has nothing to learn from and is left out")
        return
    seed = derive(recipe.seed, "train", stage, iteration)
    part = f"{'SFT' if stage == 'sft' else 'preference'} {iteration}"
    with run.stage(part, partial(learning, recipe, stage, rows)):
        learn(
            recipe, policy_spec(recipe, start), rows, stage, folder / stage, seed,
            lambda figures, step: run.tracker.log(part, figures, step),
        )  # fmt: skip


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """A row to learn from, all of whose columns are texts."""
    for column, value in row.items():
        if not isinstance(value, str):
            raise TypeError(f"{column}: no text")
    return row


def explored_anew(folder: Path) -> str:
    """How a damaged file of an exploration is mended."""
    return f"delete {folder / 'samples.jsonl'} and resume the run: its files are written again"


def _publish(run: Run, iterations: int, directory: Path) -> None:
    """The run's own files: everything tried and learnt from, and the last checkpoint as ``policy/``."""
    folders = [run.path("iterations", str(number)) for number in range(1, iterations + 1)]
    for name in FILES:
        lines = (read_lines(folder / name, dict, explored_anew(folder)) for folder in folders)
        write_jsonl(run.path(name), chain.from_iterable(lines))
    for left in run.directory.glob("iterations/*/*.checkpoints"):  # of a stage killed at its very end
        shutil.rmtree(left)
    if not run.path("policy").exists():
        part = run.path("policy.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(directory, part)
        part.rename(run.path("policy"))


# One training stage: from a JSONL file to a checkpoint directory, which is whole or absent.


def learn(
    recipe: LeretRecipe,
    spec: ModelSpec,
    rows: Sequence[dict[str, str]],
    stage: str,
    target: Path,
    seed: int,
    tell: "LogCallback" = lambda figures, step: None,
) -> None:
    """Train ``spec`` on ``rows`` (stage ``sft`` or ``policy``) and save the result as ``target``.

    Killed and called again, it goes on from the last checkpoint beside ``target``.

    Args:
        tell: is given the trainer's figures, as ``STAGE.log.jsonl`` beside ``target`` keeps them.

    Raises:
        DataError: an example is longer than `train.max_length`.
        ModelError: the model or its adapter cannot be loaded.
        MachineError: the disk is full, or the trained weights could not be gathered.
    """
    from transformers import set_seed

    from lmtools.leret.trainer import preference_trainer, run_trainer, sft_trainer  # TRL takes seconds

    set_seed(seed % 2**32)
    spec = resolve_dtype(spec)
    loaded = load_trainable(spec, recipe.train)
    model = trainable(loaded, recipe.train, adapter=spec.adapter is not None)
    folder = target.with_name(f"{stage}.checkpoints")
    build = sft_trainer if stage == "sft" else preference_trainer
    mixed = mixed_precision(spec, recipe.train.full, loaded.device)
    label = "SFT" if stage == "sft" else f"preference optimisation ({recipe.train.preference.loss})"
    with library_writes(target.parent), quiet_libraries():
        trainer = build(model, loaded.tokenizer, rows, recipe.train, folder, seed, mixed)
        with progress(steps(trainer), label) as bar:
            run_trainer(trainer, target.with_name(f"{stage}.log.jsonl"), bar, tell)
        save(trainer, spec, target)
        if first_process():
            shutil.rmtree(folder, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the bars that libraries draw for work of a second, in logs above all."""
    import datasets

    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        # peft asks the hub for the vocabulary of a base that is named, not stored there
        warnings.filterwarnings("ignore", message="Could not find a config file")
        yield


def load_trainable(spec: ModelSpec, settings: TrainSettings) -> LoadedModel:
    """The model to train. All weights are trained in float32: 16 bits round small updates away."""
    return load(spec.model_copy(update={"dtype": "float32"}) if settings.full else spec)


def mixed_precision(spec: ModelSpec, full: bool, device: str) -> "Mixed | None":
    """What products are computed in where weights are float32: all of them, or at float16 LoRA's.

    float16 also needs its gradients scaled, which is part of it; on a processor there is no such thing.
    """
    if spec.dtype == "bfloat16" and full:
        return "bf16"
    return "fp16" if spec.dtype == "float16" and device != "cpu" else None


def trainable(loaded: LoadedModel, settings: TrainSettings, adapter: bool) -> Any:
    """The model as it is trained: all weights (an adapter merged), the adapter it came with, or a new one.

    It stays in evaluation mode, so that dropout does not blur the reference; the trainer switches it over.
    """
    model = loaded.model
    if settings.full:
        whole = model.merge_and_unload() if adapter else model
        return whole.requires_grad_(True)
    if adapter:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return model
    from peft import LoraConfig, get_peft_model

    lora = settings.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def steps(trainer: Any) -> int:
    """Optimiser steps of the whole training, on every process together."""
    batches = -(-len(trainer.get_train_dataloader()) // trainer.args.gradient_accumulation_steps)
    return max(1, int(-(-batches * trainer.args.num_train_epochs // 1)))


def save(trainer: Any, spec: ModelSpec, target: Path) -> None:
    """An adapter (PEFT) or a full model (safetensors), with its tokenizer, written beside and renamed.

    Every process takes part: where each holds a share of the weights (FSDP, ZeRO-3), they are gathered.
    """
    part = target.with_name(f"{target.name}.part")
    if first_process():
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if first_process():
        _keep_what_is_published(part, spec)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    trainer.accelerator.wait_for_everyone()


def _keep_what_is_published(part: Path, spec: ModelSpec) -> None:
    """Only the trained weights, on their base's own name: no pickled settings, no copy of the reference, no
    empty form of a card.

    Raises:
        MachineError: the trainer wrote no weights.
    """
    for unwanted in ("training_args.bin", "README.md"):
        (part / unwanted).unlink(missing_ok=True)
    for folder in [path for path in part.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    if not any(part.glob("*.safetensors")):
        raise MachineError(
            f"{part}: the trained weights were not gathered",
            fix="with DeepSpeed ZeRO-3, set stage3_gather_16bit_weights_on_model_save, and --resume",
        )
    path = part / "adapter_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.name
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
