"""From a model's last hidden states to its logits, by the model's own code.

Output matrix, bias, scale and soft cap differ from model to model; so the model itself is run, with its
decoder replaced by the states.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from lmtools.core.errors import ModelError
from lmtools.models.load import LoadedModel, base_model


class OutputLayer:
    """Logits of states. It belongs to the loaded model, which must not run meanwhile.

    Args:
        loaded: a causal language model, with a PEFT adapter on top or without.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Any = base_model(loaded.model)
        self._decoder: Any = self._model.get_decoder()
        weight = self._model.get_output_embeddings().weight
        self.device, self.dtype = weight.device, weight.dtype

    @property
    def rows(self) -> Tensor:
        """The output matrix, (vocabulary, hidden)."""
        weight: Tensor = self._model.get_output_embeddings().weight
        return weight.detach()

    def __call__(self, states: Tensor) -> Tensor:
        """Logits of states after the final norm: (k, hidden) to (k, vocabulary), at the model's precision."""
        given = BaseModelOutputWithPast(last_hidden_state=states.to(self.device, self.dtype)[None])
        unused = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self._decoder.forward = lambda *args, **kwargs: given
        try:
            with torch.no_grad():
                logits: Tensor = self._model(input_ids=unused, use_cache=False).logits[0]
        finally:
            del self._decoder.forward  # the class's own comes to light again
        return logits


def last_states(loaded: LoadedModel, ids: Tensor) -> Tensor:
    """The last hidden states, after the final norm, of rows of tokens: (rows, tokens) to (..., hidden).

    Padding must be on the right, where no token sees it.

    Raises:
        ModelError: one of them is NaN or infinite.
    """
    with torch.inference_mode():
        states: Tensor = base_model(loaded.model).get_decoder()(input_ids=ids, use_cache=False)[0]
    if not torch.isfinite(states).all():
        raise ModelError(
            "the model's hidden states hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    return states
