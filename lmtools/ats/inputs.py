"""From a recipe to what a fit works with: the sequences, the model's sizes. Checked before any work."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmtools.ats.cache import SequenceRows
from lmtools.ats.recipe import AtsRecipe, BaseShape, base_shape
from lmtools.ats.sequences import Sequences, sequences
from lmtools.core.errors import DataError, ModelError
from lmtools.core.progress import say
from lmtools.core.seeds import derive
from lmtools.data.records import Instruction
from lmtools.data.sources import load_instructions, source_hash
from lmtools.models.files import ModelFiles, model_hashes, resolve
from lmtools.models.load import identity, load_tokenizer


@dataclass(frozen=True)
class Split:
    """Numbers of sequences in the cache: to train on, and held out."""

    train: tuple[int, ...]
    validation: tuple[int, ...]

    @property
    def measured(self) -> tuple[int, ...]:
        """The sequences that methods are measured on: those held out, or all where none is."""
        return self.validation or self.train


@dataclass(frozen=True)
class AtsInputs:
    """What a fit works with; ``hashes`` are the SHA-256 of everything that was read, by its path or name.

    ``identity`` is the model by content, as ``LoadedModel.identity``; ``files`` are those it is loaded from.
    """

    recipe: AtsRecipe
    rows: SequenceRows
    split: Split
    identity: str
    files: ModelFiles
    shape: BaseShape
    hashes: dict[str, str]


def prepare(recipe: AtsRecipe) -> AtsInputs:
    """Read the instructions, make sequences of them, split them, hash the model.

    Raises:
        DataError: something is wrong with the instructions, or too few are there to hold some out.
        ModelError: the model or its adapter cannot be used.
        MachineError: a download failed.
    """
    check_model(recipe)
    instructions = read_instructions(recipe)
    files = resolve(recipe.model)
    texts = make_sequences(recipe, instructions, load_tokenizer(recipe.model, files))
    if texts.cut:
        say(
            f"{texts.cut} of {len(texts.marked)} sequences lose their end: "
            f"data.max_tokens={recipe.data.max_tokens}"
        )
    rows = SequenceRows.of(texts.marked)
    return AtsInputs(
        recipe,
        rows,
        split(len(rows.marked), recipe.data.validation, recipe.seed),
        identity(recipe.model, files),
        files,
        base_shape(model_config(recipe, files)),
        {recipe.data.train: source_hash(recipe.data.train), **model_hashes(recipe.model, files)},
    )


def check_model(recipe: AtsRecipe) -> None:
    """Make sure that the model's hidden states can be had: they do not come out of a server or of vLLM.

    Raises:
        ModelError: the backend is another than ``hf``.
    """
    if recipe.model.backend != "hf":
        raise ModelError(
            f"model.backend: {recipe.model.backend}: a head is fitted on hidden states, which only hf gives",
            fix="fit with --backend hf; `lmtools ats export` then makes a model for vLLM and its server",
        )


def read_instructions(recipe: AtsRecipe) -> list[Instruction]:
    """The recipe's instructions.

    Raises:
        DataError: the source is missing or wrong, a response is blank, or none is short enough.
    """
    data = recipe.data
    chosen: list[Instruction] = []
    for number, instruction in enumerate(load_instructions(data.train), start=1):
        turns, response = instruction.split()
        if not response.strip():
            raise DataError(
                f"{recipe.data.train}: instruction {number}, {turns[-1].content[:60]!r}: a blank response",
                fix="write the response, or drop the record",
            )
        if data.max_response_words is None or len(response.split()) <= data.max_response_words:
            chosen.append(instruction)
        if data.limit is not None and len(chosen) == data.limit:
            break
    if not chosen:
        raise DataError(
            f"{data.train}: no response has at most {data.max_response_words} words",
            fix="raise data.max_response_words, or set it to null",
        )
    return chosen


def make_sequences(recipe: AtsRecipe, instructions: list[Instruction], tokenizer: Any) -> Sequences:
    """The instructions as sequences of tokens; raises as ``sequences`` does."""
    data = recipe.data
    return sequences(tokenizer, instructions, data.layouts, data.max_tokens, derive(recipe.seed, "sequences"))


def split(count: int, share: float, seed: int) -> Split:
    """Hold out ``share`` of ``count`` sequences, at least one of them unless the share is 0, drawn by seed.

    Raises:
        DataError: a single sequence is there, and some are to be held out.
    """
    held_out = round(count * share) if share == 0 else max(1, round(count * share))
    if held_out >= count:
        raise DataError(
            f"{count} sequence{'s' if count > 1 else ''} cannot be split into training and validation",
            fix="give more instructions, a smaller data.max_tokens, or set data.validation=0 to do without "
            "early stopping and without held-out figures",
        )
    order = np.random.default_rng(derive(seed, "split")).permutation(count)
    return Split(tuple(sorted(order[held_out:].tolist())), tuple(sorted(order[:held_out].tolist())))


def model_config(recipe: AtsRecipe, files: ModelFiles) -> Any:
    """The model's configuration, without its weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(files.path, trust_remote_code=recipe.model.trust_remote_code)
