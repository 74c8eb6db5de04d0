"""A backbone with LoRA matrices (Hu et al., 2022) in its linear layers, and features with a gradient."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmtools.core.errors import MachineError
from lmtools.core.files import library_writes
from lmtools.hyre.ensemble import Scaler
from lmtools.models.chat import AnsweredPrompt, EncodedAnswer, encode_answers
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import is_reward_model, layer_numbers
from lmtools.models.files import is_adapter, resolve
from lmtools.models.load import base_model, load
from lmtools.models.pooling import MOST_ON_CPU, can_pack, layer_states, pack_rows, pool, tensors
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

ADAPTER = "adapter"
"""The folder of a run in which the trained matrices are."""
Pair = tuple[EncodedAnswer, EncodedAnswer]
"""The chosen and the rejected answer."""


def trained_at(spec: ModelSpec) -> ModelSpec:
    """The model at a precision that it can be trained at: float32 in place of float16."""
    resolved = resolve_dtype(spec)
    return resolved.model_copy(update={"dtype": "float32"}) if resolved.dtype == "float16" else resolved


class TunedBackbone:
    """A model of which nothing but new LoRA matrices is trained; until then it says what it said before.

    Args:
        spec: the model, without an adapter; at bfloat16 the matrices are float32 all the same.
        settings: which layers the features are of, and how they are pooled.
        rank: of the matrices; their product is scaled by two.
        seed: of their start.

    Raises:
        ModelError: the model cannot be loaded, or has no such layer.
        MachineError: there is not enough memory.
    """

    def __init__(self, spec: ModelSpec, settings: FeatureSettings, rank: int, seed: int) -> None:
        files = resolve(spec)
        reward = is_reward_model(files)
        # Gradients of float16 would be lost below its smallest number; features are read at it afterwards.
        loaded = load(trained_at(spec), files=files, reward=reward)
        self.device = loaded.device
        self._tokenizer = loaded.tokenizer
        self._settings = settings
        self._model = _with_lora(loaded.model, spec.name, rank, seed, reward)
        self._base = base_model(self._model)
        self._config = self._base.config.get_text_config()
        self._last = int(self._config.num_hidden_layers)
        self._layers = layer_numbers(settings.layers, self._last)
        self._batch_tokens = (
            min(spec.batch_tokens, MOST_ON_CPU) if self.device == "cpu" else spec.batch_tokens
        )

    @property
    def width(self) -> int:
        """D, the numbers in a row of features."""
        return len(self._layers) * len(self._settings.pooling) * int(self._config.hidden_size)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The LoRA matrices by name."""
        return {name: value for name, value in self._model.named_parameters() if value.requires_grad}

    def tokenised(self, answered: Sequence[AnsweredPrompt]) -> tuple[EncodedAnswer, ...]:
        """Texts as the reader of features cuts them; raises as ``lmtools.models.chat.encode_answers``."""
        most = self._settings.max_tokens
        context = getattr(self._config, "max_position_embeddings", None) or most
        return encode_answers(self._tokenizer, answered, min(most, int(context))).texts

    def portions(self, pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
        """Pairs of like length, as many at a time as fit into ``model.batch_tokens``, or one."""
        queue = sorted(pairs, key=lambda pair: -_length(pair))
        while queue:
            count = max(1, self._batch_tokens // (2 * _length(queue[0])))
            yield queue[:count]
            queue = queue[count:]

    def features(self, texts: Sequence[EncodedAnswer]) -> Tensor:
        """The features of texts in one forward pass, in their order: (n, D) float32, with a gradient.

        Raises:
            MachineError: the GPU's memory is not enough.
        """
        share = can_pack(self._base, max(map(len, texts)))
        packed = pack_rows(texts, int(self._config.hidden_size), sum(map(len, texts)), share=share)
        batch = tensors(packed, texts, self.device)
        states = layer_states(self._base, batch, self._layers, self._last, self._last)
        features = {
            member: torch.cat(
                [pool(layer[row, start:end], name) for layer in states for name in self._settings.pooling]
            )
            for member, row, start, end in batch.spans
        }
        return torch.stack([features[index] for index in range(len(texts))])

    def scaler(self, pairs: Sequence[Pair]) -> Scaler:
        """The scale of the features of some pairs, as the model is now; raises as ``features``."""
        with torch.no_grad():
            blocks = [
                self.features([text for pair in portion for text in pair]) for portion in self.portions(pairs)
            ]
        return Scaler.of(torch.cat(blocks).cpu().numpy())

    def save(self, target: Path) -> None:
        """Write the matrices as a PEFT adapter, whole or not at all.

        Raises:
            MachineError: it cannot be written.
        """
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        with library_writes(target):
            self._model.save_pretrained(str(part), safe_serialization=True, save_embedding_layers=False)
            (part / "README.md").unlink(missing_ok=True)  # an empty form, with the model's path in it
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)


def with_adapter(spec: ModelSpec, directory: Path) -> ModelSpec:
    """A model as a training run left it: with the run's adapter, where it made one."""
    if not is_adapter(directory / ADAPTER):
        return spec
    return spec.model_copy(update={"adapter": str(directory / ADAPTER)})


def out_of_memory(error: Exception) -> MachineError:
    """What to tell where the GPU's memory does not hold one step."""
    return MachineError(
        f"the GPU's memory is not enough to train on: {str(error).splitlines()[0]}",
        fix="lower model.batch_tokens or features.max_tokens, or set model.dtype=bfloat16",
    )


def _length(pair: Pair) -> int:
    return max(map(len, pair))


def _with_lora(model: Any, name: str, rank: int, seed: int, reward: bool) -> Any:
    """The model with the same matrices for the same seed, in evaluation mode: nothing is dropped out."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        adapted = get_peft_model(model, config)
    written = adapted.peft_config["default"]
    written.base_model_name_or_path = name
    # A set would be written in another order by every process, and give the same adapter another digest.
    written.target_modules = sorted(written.target_modules)
    for key, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in key)
    return adapted.eval()
