"""Generation by vLLM in this process: batched by the engine, shared prefixes computed once, LoRA per request.

    generator = VllmGenerator(ModelSpec(name="builtin:smollm2-135m-instruct"))
    tuned = VllmGenerator(spec, max_lora_rank=16).with_adapter(Path("runs/leret/policy"))

vLLM is imported when a generator is made, not before.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from lmtools.core.errors import BackendError, ModelError
from lmtools.generation.protocol import Completion, Sampling, by_prompt, draws, sample_seed
from lmtools.generation.vllm_engine import (
    Adapters,
    adapter_rank,
    check_device,
    engine_options,
    first_line,
    generation_config,
    import_vllm,
    lora_options,
    reload_weights,
    start,
    stop,
)
from lmtools.models.chat import EncodedAnswer, end_ids
from lmtools.models.feature_settings import Pooled, Pooling
from lmtools.models.files import fingerprint, read_json, resolve
from lmtools.models.load import load_tokenizer
from lmtools.models.pooling import batches, pack_rows, pool
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

MOST_OPTIONS = 128
"""Token ids of which one request may return log-probabilities."""


class VllmGenerator:
    """A model in a vLLM engine; ``engine`` overrides any keyword argument of ``vllm.LLM``.

    Room for adapters is made where the spec names one or ``max_lora_rank`` is given. On a CPU an engine with
    that room is several times slower; ``reload`` of merged weights costs seconds instead.

    Raises:
        MissingPackageError: vLLM is absent or of an unsupported version.
        ModelError: vLLM does not take the model, the adapter or an engine option.
    """

    def __init__(self, spec: ModelSpec, **engine: Any) -> None:
        import_vllm()
        from vllm.platforms import current_platform

        check_device(spec.device, current_platform.device_type)
        files = resolve(spec)
        config = read_json(files.path / "config.json")
        rank = max(adapter_rank(files.adapter) if files.adapter else 0, engine.pop("max_lora_rank", 0))
        lora = lora_options(files.path, rank, spec.trust_remote_code) if rank else None
        self._cpu: bool = current_platform.is_cpu()
        options = engine_options(spec, config, cpu=self._cpu, lora=lora) | engine
        self._engine = _Engine(start(files.path, options), files.digest)
        self._tokenizer = load_tokenizer(spec, files)
        self._ends = end_ids(self._tokenizer, generation_config(files.path, self._llm.model_config.hf_config))
        self._length: int = self._llm.model_config.max_model_len
        self._dtype = resolve_dtype(spec).dtype
        self._adapters = Adapters(files.path, options.get("max_lora_rank", 0))
        self._adapter: Any = None
        self._adapter_digest = ""
        if files.adapter:
            self._adapter_digest, self._adapter = self._adapters.request(files.adapter)

    @property
    def identity(self) -> str:
        """Backend, model and adapter by content, and precision."""
        adapter = f"+{self._adapter_digest[:16]}" if self._adapter else ""
        return f"vllm:{self._engine.digest[:16]}{adapter}@{self._dtype}"

    @property
    def _llm(self) -> Any:
        return self._engine.llm

    def with_adapter(self, directory: Path | None) -> "VllmGenerator":
        """The same engine with the PEFT adapter in ``directory`` on top, or with none.

        Raises:
            ModelError: not an adapter, or one for which the engine has no room.
        """
        generator = object.__new__(VllmGenerator)
        generator.__dict__.update(self.__dict__)
        generator._adapter_digest, generator._adapter = (
            self._adapters.request(directory) if directory else ("", None)
        )
        return generator

    def reload(self, directory: Path) -> None:
        """Replace the engine's weights, for all its generators, by those of a model of the same shape."""
        reload_weights(self._llm, directory, cpu=self._cpu)
        self._engine.digest = fingerprint(directory)

    def close(self) -> None:
        """Shut the engine down and free its memory, for all generators on it."""
        llm, self._engine.llm = self._engine.llm, None
        if llm is not None:
            stop(llm)

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt; greedy ones are computed once and repeated."""
        if sampling.max_tokens < 1:
            return [[Completion("", finish="length")] * samples for _ in prompts]
        jobs = [(prompt, draw) for prompt in prompts for draw in range(draws(sampling, samples))]
        params = [
            _drawing(sampling, sample_seed(prompt, sampling, draw), self._ends) for prompt, draw in jobs
        ]
        outputs = self._run(self._encode([prompt for prompt, _ in jobs]), params)
        return by_prompt([self._completion(output.outputs[0]) for output in outputs], len(prompts), samples)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens, natural log.

        The engine gives them for the part of a request that it computes, so a prompt may come from the prefix
        cache; where the cache reaches into a continuation, that request is run again without it.
        """
        heads = self._encode([prompt for prompt, _ in pairs])
        tails = self._encode([continuation for _, continuation in pairs])
        scores: list[tuple[float, ...]] = [()] * len(pairs)
        pending = [index for index, tail in enumerate(tails) if tail]
        if not all(heads):
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        for cached in (True, False):  # the second round is for those that the cache reached into
            outputs = self._run([heads[i] + tails[i] for i in pending], [_scoring(cached)] * len(pending))
            reached = []
            for index, output in zip(pending, outputs, strict=True):
                if (output.num_cached_tokens or 0) < len(heads[index]):
                    rows = output.prompt_logprobs[len(heads[index]) :]
                    scores[index] = tuple(row[t].logprob for row, t in zip(rows, tails[index], strict=True))
                else:
                    reached.append(index)
            pending = reached
        return scores

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Each option's log-probability as the next token, over the full vocabulary."""
        from vllm import SamplingParams

        tokens = [self._one_token(option) for option in options]
        encoded = self._encode(prompts)
        logprobs: list[dict[int, float]] = [{} for _ in prompts]
        for first in range(0, len(tokens), MOST_OPTIONS):
            ids = sorted(set(tokens[first : first + MOST_OPTIONS]))
            params = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=ids, detokenize=False)
            for values, output in zip(logprobs, self._run(encoded, [params] * len(encoded)), strict=True):
                values.update(
                    {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
                )
        return [tuple(values[token] for token in tokens) for values in logprobs]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        unique = list(dict.fromkeys(texts))
        ids = self._tokenizer(unique, add_special_tokens=False)["input_ids"]
        encoded: dict[str, list[int]] = dict(zip(unique, ids, strict=True))
        return [encoded[text] for text in texts]

    def _one_token(self, option: str) -> int:
        ids = self._encode([option])[0]
        if len(ids) != 1:
            raise ModelError(
                f"option {option!r} is {len(ids)} tokens for this model, not one",
                fix="use options that are single tokens, such as ' A' or 'A'",
            )
        return ids[0]

    def _run(self, encoded: Sequence[list[int]], params: Sequence[Any]) -> list[Any]:
        """One batch through the engine, in order, all of it with this generator's adapter.

        Rows without an adapter beside rows with one would silently get it on a CPU.
        """
        if not encoded:
            return []
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import TokensPrompt

        if not all(encoded):
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        longest = max(len(ids) for ids in encoded)
        if longest >= self._length:
            raise ModelError(
                f"a prompt of {longest} tokens does not fit model.max_model_len={self._length}",
                fix="raise model.max_model_len as far as the model allows, or shorten the prompts",
            )
        prompts = [TokensPrompt(prompt_token_ids=ids) for ids in encoded]
        try:
            outputs: list[Any] = self._llm.generate(
                prompts, list(params), use_tqdm=False, lora_request=self._adapter
            )
        except (ValueError, VLLMValidationError) as error:
            raise ModelError(f"vLLM refused a request: {first_line(error)}") from error
        except Exception as error:  # the engine's own kinds differ between its versions
            raise BackendError(f"vLLM failed: {first_line(error)}", fix="run again with --resume") from error
        return outputs

    def _completion(self, output: Any) -> Completion:
        """vLLM's output as ours; its token ids already end with the one that stopped it.

        Its text leaves out characters whose bytes are incomplete at the end, so only a stop string's cut is
        taken from it.
        """
        if output.finish_reason not in ("stop", "length"):
            raise BackendError(
                f"vLLM ended a request with {output.finish_reason!r}", fix="run again with --resume"
            )
        tokens = tuple(output.token_ids)
        logprobs = tuple(step[token].logprob for step, token in zip(output.logprobs, tokens, strict=False))
        if isinstance(output.stop_reason, str):
            return Completion(output.text, tokens, logprobs, output.finish_reason)
        written = tokens[:-1] if tokens[-1] in self._ends else tokens
        text = self._tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, tokens, logprobs, output.finish_reason)


class _Engine:
    """An engine (None once it is shut down) and the digest of its weights, shared by all generators on it."""

    def __init__(self, llm: Any, digest: str) -> None:
        self.llm, self.digest = llm, digest


def _drawing(sampling: Sampling, seed: int, ends: Sequence[int]) -> Any:
    """Parameters of one sample, with the log-probability of each of its tokens."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError

    try:
        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop=list(sampling.stop),
            stop_token_ids=list(ends),
            seed=seed if sampling.temperature > 0 else None,
            logprobs=0,
        )
    except (ValueError, VLLMValidationError) as error:
        raise ModelError(f"vLLM refuses these sampling settings: {first_line(error)}") from error


def _scoring(cached: bool) -> Any:
    """Parameters that return each prompt token's log-probability, reading the prefix cache or not."""
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        prompt_logprobs=0,
        detokenize=False,
        skip_reading_prefix_cache=not cached,
    )


# Features by vLLM: states after the final norm, of every token, pooled here. One text a row, and no prefix
# cache: a token that comes from it has no state.

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

    def read(self, texts: Sequence[EncodedAnswer], kept: Collection[int] = ()) -> Iterator[Pooled]:
        """See ``Pass``.

        Raises:
            ModelError: vLLM refuses a text.
            BackendError: it failed.
        """
        packed = pack_rows(texts, 1, self._batch_tokens, share=False)
        for batch in batches(packed, self._batch_tokens):
            indices = [row.members[0] for row in batch]
            if all(index in kept for index in indices):
                continue
            states = self._states([texts[index] for index in indices])
            pooled = [
                torch.cat([pool(state[len(texts[index].prompt) :], name) for name in self._pooling])
                for index, state in zip(indices, states, strict=True)
            ]
            yield indices, torch.stack(pooled).numpy()

    def close(self) -> None:
        """See ``Pass``."""
        llm, self._llm = self._llm, None
        if llm is not None:
            stop(llm)

    def _states(self, texts: Sequence[EncodedAnswer]) -> list[torch.Tensor]:
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
