"""The pass of features by vLLM: states after the final norm, of every token, pooled here.

One text a row, and no prefix cache: a token that comes from it has no state.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lmtools.core.errors import BackendError, ModelError
from lmtools.generation.vllm_adapters import Adapters, adapter_rank, lora_options
from lmtools.generation.vllm_engine import (
    check_device,
    engine_options,
    first_line,
    import_vllm,
    start,
    stop,
)
from lmtools.models.answered import Text
from lmtools.models.feature_pass import Pooled
from lmtools.models.feature_settings import Pooling
from lmtools.models.files import read_json, resolve
from lmtools.models.packing import batches, rows
from lmtools.models.pooled import pool
from lmtools.models.spec import ModelSpec

TASK = "token_embed"


class VllmPass:
    """A pooling engine in this process; see ``Pass``.

    Raises:
        MissingPackageError: vLLM is absent or of an unsupported version.
        ModelError: vLLM does not take the model or the adapter.
        BackendError: it failed to start.
    """

    def __init__(self, spec: ModelSpec, pooling: Sequence[Pooling]) -> None:
        import_vllm()
        from vllm.config import PoolerConfig
        from vllm.platforms import current_platform

        check_device(spec.device, current_platform.device_type)
        files = resolve(spec)
        rank = adapter_rank(files.adapter) if files.adapter else 0
        lora = lora_options(files.path, rank, spec.trust_remote_code) if rank else None
        config = read_json(files.path / "config.json")
        options = engine_options(spec, config, cpu=current_platform.is_cpu(), lora=lora)
        options |= {
            "runner": "pooling",
            "pooler_config": PoolerConfig(task=TASK, use_activation=False),
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(spec.batch_tokens, options["max_model_len"]),
        }
        self._llm: Any = start(files.path, options)
        self._adapters = Adapters(files.path, options.get("max_lora_rank", 0))
        self._adapter = self._adapters.request(files.adapter)[1] if files.adapter else None
        self._pooling, self._batch_tokens = tuple(pooling), spec.batch_tokens

    def read(self, texts: Sequence[Text]) -> Iterator[Pooled]:
        """See ``Pass``.

        Raises:
            ModelError: vLLM refuses a text.
            BackendError: it failed.
        """
        made = rows(texts, 1, self._batch_tokens, share=False)
        for some in batches(made, self._batch_tokens):
            places = [row.members[0] for row in some]
            states = self._states([texts[place] for place in places])
            found = [
                torch.cat([pool(state[len(texts[place].prompt) :], name) for name in self._pooling])
                for place, state in zip(places, states, strict=True)
            ]
            yield places, torch.stack(found).numpy()

    def close(self) -> None:
        """See ``Pass``."""
        llm, self._llm = self._llm, None
        if llm is not None:
            stop(llm)

    def _states(self, texts: Sequence[Text]) -> list[torch.Tensor]:
        """The states of every token of every text, (tokens, hidden) each."""
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=[*text.prompt, *text.answer]) for text in texts]
        try:
            outputs = self._llm.encode(prompts, pooling_task=TASK, use_tqdm=False, lora_request=self._adapter)
        except (ValueError, VLLMValidationError) as error:
            raise ModelError(f"vLLM refused a text: {first_line(error)}") from error
        except Exception as error:  # the engine's own kinds differ between its versions
            raise BackendError(f"vLLM failed: {first_line(error)}", fix="run again with --resume") from error
        states = [output.outputs.data.cpu() for output in outputs]
        if any(len(state) != len(text) for state, text in zip(states, texts, strict=True)):
            raise BackendError("vLLM left out the states of some tokens", fix="use --backend hf")
        return states
