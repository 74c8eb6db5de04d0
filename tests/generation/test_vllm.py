"""The vllm backend: what it decides without vLLM, and the real engine on a tiny random Llama."""

import json
import math
import os
import sys

import bm25s  # noqa: F401  (with numba's llvmlite, whose function table vLLM stumbles over)
import pytest
from tiny import save_adapter, save_tiny_llama

from lmtools.core.errors import LmtoolsError, MissingPackageError, ModelError
from lmtools.generation.protocol import Sampling
from lmtools.generation.vllm_engine import (
    LAUNCHER,
    RANKS,
    adapter_rank,
    check_device,
    check_version,
    engine_options,
    first_line,
    import_vllm,
    linear_layers,
    lora_options,
    single_process,
    without_llvmlite,
)
from lmtools.models.spec import ModelSpec

GREEDY = Sampling(max_tokens=12)
WARM = Sampling(max_tokens=12, temperature=1.0, top_k=50, seed=5)
PROMPTS = ["Which river flows through Paris?", "The", "Write a search query that finds the passage. " * 6]


class TestWithoutVllm:
    @pytest.mark.parametrize("version", ["0.28.0", "0.30.1", "0.32.0", "0.32.1rc1.dev3+gabc"])
    def test_supported_versions(self, version):
        check_version(version)

    @pytest.mark.parametrize("version", ["0.27.1", "0.33.0", "1.0.0", "dev", "0"])
    def test_other_versions_say_which_are(self, version):
        with pytest.raises(MissingPackageError, match=r"0\.28 to 0\.32") as caught:
            check_version(version)
        assert ".[vllm]" in caught.value.fix

    def test_absent_vllm_says_how_to_install_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "vllm", None)
        with pytest.raises(MissingPackageError, match="not installed") as caught:
            import_vllm()
        assert 'pip install -e ".[vllm]"' in caught.value.fix
        assert "make vllm-env" in caught.value.fix

    def test_cpu_options_avoid_its_traps(self):
        options = engine_options(ModelSpec(max_model_len=6000), {"max_position_embeddings": 8192}, cpu=True)
        assert options["enable_chunked_prefill"] is False
        assert options["block_size"] % 32 == 0
        assert options["max_num_batched_tokens"] >= options["max_model_len"] == 6000

    def test_gpu_options_leave_vllm_its_defaults(self):
        options = engine_options(ModelSpec(dtype="bfloat16"), {}, cpu=False)
        assert options == {
            "dtype": "bfloat16",
            "max_model_len": 4096,
            "trust_remote_code": False,
            "enable_prefix_caching": True,
            "max_logprobs": -1,
        }

    def test_length_is_held_to_what_the_model_knows(self):
        assert (
            engine_options(ModelSpec(), {"max_position_embeddings": 2048}, cpu=False)["max_model_len"] == 2048
        )

    def test_linear_layers_leave_the_head_out(self, tiny_llama):
        assert linear_layers(tiny_llama) == [
            "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
        ]  # fmt: skip

    def test_room_for_adapters_is_the_next_size(self, tiny_llama):
        assert lora_options(tiny_llama, 9)["max_lora_rank"] == 16
        assert lora_options(tiny_llama, 16)["max_lora_rank"] == 16
        with pytest.raises(ModelError, match="rank 513"):
            lora_options(tiny_llama, RANKS[-1] + 1)

    def test_the_device_is_that_of_the_installed_vllm(self):
        check_device("auto", "cpu")
        check_device("cuda", "cuda")
        with pytest.raises(ModelError, match="runs on cpu"):
            check_device("cuda", "cpu")
        with pytest.raises(ModelError, match="cuda:1") as caught:
            check_device("cuda:1", "cuda")
        assert "CUDA_VISIBLE_DEVICES=1" in caught.value.fix

    def test_an_adapter_of_the_head_is_refused(self, tmp_path):
        import numpy as np
        from safetensors.numpy import save_file

        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "rank_pattern": {"q_proj": 12}}))
        name = "base_model.model.{}.lora_A.weight"
        save_file({name.format("model.q_proj"): np.ones(1)}, tmp_path / "adapter_model.safetensors")
        assert adapter_rank(tmp_path) == 12
        save_file({name.format("lm_head"): np.ones(1)}, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ModelError, match="lm_head"):
            adapter_rank(tmp_path)

    def test_an_engine_is_started_as_if_no_launcher_had_started_this_process(self, monkeypatch):
        launched = {
            "RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "CUDA_VISIBLE_DEVICES": "3",
        }  # fmt: skip
        for name, value in launched.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("VLLM_WORKER_MULTIPROC_METHOD", raising=False)
        before = dict(os.environ)
        with single_process():
            assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"} & set(os.environ)
            assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
            assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert dict(os.environ) == before

    def test_a_lone_process_keeps_its_engine(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        before = dict(os.environ)
        with single_process():
            assert dict(os.environ) == {name: v for name, v in before.items() if name not in LAUNCHER}
        assert dict(os.environ) == before

    def test_a_module_that_vllm_cannot_read_is_out_of_its_sight_meanwhile(self, monkeypatch):
        table = object()
        monkeypatch.setitem(sys.modules, "llvmlite.binding.ffi", table)
        with without_llvmlite():
            assert "llvmlite.binding.ffi" not in sys.modules
        assert sys.modules["llvmlite.binding.ffi"] is table

    def test_first_line(self):
        assert first_line(ValueError("\n one \n two")) == "one"
        assert first_line(ValueError()) == "ValueError"


@pytest.fixture(scope="module")
def adapters(tiny_llama, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("adapter") for _ in range(2)]
    return [save_adapter(tiny_llama, folder, rank=8, seed=seed) for seed, folder in enumerate(folders)]


@pytest.fixture(scope="module")
def engine(tiny_llama):
    """One engine with room for adapters, for all tests of this file."""
    pytest.importorskip("vllm")
    from lmtools.generation.vllm import VllmGenerator

    return VllmGenerator(ModelSpec(name=str(tiny_llama), backend="vllm"), max_lora_rank=8)


@pytest.mark.vllm
class TestEngine:
    def test_samples_repeat_and_do_not_see_the_batch(self, engine):
        together = engine.generate(PROMPTS, WARM, samples=4)
        assert together == engine.generate(PROMPTS, WARM, samples=4)
        alone = [engine.generate([prompt], WARM, samples=2)[0] for prompt in reversed(PROMPTS)]
        assert [row[:2] for row in together] == alone[::-1]
        assert len({completion.tokens for row in together for completion in row}) == 12

    def test_another_seed_gives_other_samples(self, engine):
        other = Sampling(max_tokens=12, temperature=1.0, top_k=50, seed=6)
        assert engine.generate(PROMPTS, WARM) != engine.generate(PROMPTS, other)

    def test_greedy_samples_are_the_same_one(self, engine):
        rows = engine.generate(PROMPTS, GREEDY, samples=3)
        assert all(row == [row[0]] * 3 for row in rows)
        assert [len(row) for row in engine.generate(PROMPTS, GREEDY, samples=0)] == [0, 0, 0]
        assert engine.generate([], GREEDY) == []

    def test_logprobs_are_those_of_temperature_one(self, engine):
        (row,) = engine.generate([PROMPTS[0]], Sampling(max_tokens=6, temperature=0.3, top_p=0.5))
        text = engine._tokenizer.decode(row[0].tokens)
        if engine._tokenizer(text)["input_ids"] == list(row[0].tokens):  # else it would be another sequence
            assert engine.score([(PROMPTS[0], text)])[0] == pytest.approx(row[0].logprobs, abs=1e-4)

    def test_a_stop_string_ends_with_the_token_that_completes_it(self, engine):
        (free,) = engine.generate([PROMPTS[0]], Sampling(max_tokens=24))[0]
        assert free.text == engine._tokenizer.decode(free.tokens, skip_special_tokens=True)
        position = len(free.text) // 2
        stop = free.text[position : position + 2]
        (cut,) = engine.generate([PROMPTS[0]], Sampling(max_tokens=24, stop=(stop,)))[0]
        assert cut.text == free.text[: free.text.index(stop)]
        assert cut.finish == "stop"
        assert cut.tokens == free.tokens[: len(cut.tokens)]
        assert len(cut.logprobs) == len(cut.tokens)
        assert stop in engine._tokenizer.decode(cut.tokens)
        assert stop not in engine._tokenizer.decode(cut.tokens[:-1])

    def test_scores_are_the_same_from_the_cache_and_without_it(self, engine):
        pairs = [
            (PROMPTS[2], " The Seine"),
            (PROMPTS[2], " Paris, the capital"),
            (PROMPTS[2], ""),
            ("The", "x"),
        ]
        engine._llm.reset_prefix_cache()
        cold = engine.score(pairs)
        warm = engine.score(pairs)
        assert cold[2] == ()
        for first, second in zip(cold, warm, strict=True):
            assert first == pytest.approx(second, abs=1e-5)

    def test_options_of_the_whole_vocabulary_sum_to_one(self, engine):
        letters = [engine._tokenizer.decode([token]) for token in range(len(engine._tokenizer))]
        single = [
            text for text in letters if engine._encode([text])[0] and len(engine._encode([text])[0]) == 1
        ]
        (row,) = engine.options(["The river"], single)
        assert len(single) > 128
        assert sum(math.exp(value) for value in row) < 1 + 1e-4
        assert engine.options(["The river"], single[:2]) == [pytest.approx(row[:2], abs=1e-5)]

    def test_an_option_of_two_tokens(self, engine):
        with pytest.raises(ModelError, match="is 2 tokens"):
            engine.options(["x"], ["Qq"])

    def test_no_tokens_wanted_and_none_given(self, engine):
        (row,) = engine.generate(["x"], Sampling(max_tokens=0), samples=2)
        assert [(completion.text, completion.tokens, completion.finish) for completion in row] == [
            ("", (), "length")
        ] * 2
        with pytest.raises(ModelError, match="no tokens"):
            engine.generate(["x", ""], GREEDY)
        with pytest.raises(ModelError, match="no tokens"):
            engine.score([("", "x")])

    def test_a_prompt_that_does_not_fit(self, engine):
        with pytest.raises(ModelError, match="max_model_len=2048"):
            engine.generate(["x" * 5000], GREEDY)

    def test_sampling_that_vllm_refuses(self, engine):
        with pytest.raises(LmtoolsError):
            engine.generate(["x"], Sampling(max_tokens=4, temperature=0.5, top_p=7.0))

    def test_adapters_answer_as_peft_does_and_leave_the_base_alone(self, engine, tiny_llama, adapters):
        from lmtools.generation.hf import HfGenerator

        pairs = [(prompt, " the capital of France") for prompt in PROMPTS]
        base = engine.generate(PROMPTS, GREEDY)
        seen = [engine.identity]
        for adapter in adapters:
            tuned = engine.with_adapter(adapter)
            reference = HfGenerator(ModelSpec(name=str(tiny_llama), adapter=str(adapter)))
            expected = reference.generate(PROMPTS, GREEDY)
            assert [row[0].tokens for row in tuned.generate(PROMPTS, GREEDY)] == [
                row[0].tokens for row in expected
            ]
            for ours, theirs in zip(tuned.score(pairs), reference.score(pairs), strict=True):
                assert ours == pytest.approx(theirs, abs=1e-3)
            assert tuned.options(["The"], ["x"]) == [
                pytest.approx(reference.options(["The"], ["x"])[0], abs=1e-3)
            ]
            seen.append(tuned.identity)
        assert engine.generate(PROMPTS, GREEDY) == base
        assert tuned.with_adapter(None).generate(PROMPTS, GREEDY) == base
        assert len(set(seen)) == 3

    def test_an_overwritten_adapter_is_a_new_one(self, engine, adapters, tmp_path):
        import shutil

        path = tmp_path / "policy"
        shutil.copytree(adapters[0], path)
        first = engine.with_adapter(path)
        before = first.generate(PROMPTS, GREEDY)
        shutil.copytree(adapters[1], path, dirs_exist_ok=True)
        second = engine.with_adapter(path)
        assert second.generate(PROMPTS, GREEDY) == engine.with_adapter(adapters[1]).generate(PROMPTS, GREEDY)
        assert first.generate(PROMPTS, GREEDY) == before
        assert first.identity != second.identity

    def test_an_adapter_above_the_rank_there_is_room_for(self, engine, adapters, tmp_path):
        import shutil

        shutil.copytree(adapters[0], tmp_path / "big")
        config = json.loads((tmp_path / "big" / "adapter_config.json").read_text())
        (tmp_path / "big" / "adapter_config.json").write_text(json.dumps(config | {"r": 64}))
        with pytest.raises(ModelError, match="max_lora_rank=64"):
            engine.with_adapter(tmp_path / "big")

    def test_reloaded_weights_answer_as_a_fresh_model(self, engine, tiny_llama, tmp_path):
        from lmtools.generation.hf import HfGenerator

        other = save_tiny_llama(tmp_path, seed=3)
        before = engine.identity, engine.generate(PROMPTS, GREEDY)
        engine.reload(other)
        try:
            after = engine.identity, engine.generate(PROMPTS, GREEDY)
        finally:
            engine.reload(tiny_llama)
        expected = HfGenerator(ModelSpec(name=str(other))).generate(PROMPTS, GREEDY)
        assert [row[0].tokens for row in after[1]] == [row[0].tokens for row in expected]
        assert after[0] != before[0]
        assert (engine.identity, engine.generate(PROMPTS, GREEDY)) == before
