"""The transformers backend against transformers itself: generate() for tokens, one full pass for numbers."""

import pytest
import torch
from tiny import save_adapter

from lmtools.core.errors import MachineError, ModelError
from lmtools.generation import hf
from lmtools.generation import past as prefix_module
from lmtools.generation.hf import HfGenerator
from lmtools.generation.past import PlainPast, PrefixCache, SharedPast
from lmtools.generation.protocol import Sampling
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

SHARED = "Which river flows through the capital of France? The Seine flows through Paris. " * 12
QUESTIONS = ["who wrote it?", "a", "Which passage finds the novel, the capital and the river of it?", "Q: 7"]
MIXED = [*QUESTIONS, *(SHARED + question for question in QUESTIONS)]
GREEDY = Sampling(max_tokens=12)
WARM = Sampling(max_tokens=8, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.fixture
def generator(loaded):
    return HfGenerator.from_loaded(loaded)


def windowed(loaded):
    """A model with sliding windows, soft caps and head sizes of its own."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(1)
    config = Gemma2Config(
        vocab_size=len(loaded.tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=48,
        query_pre_attn_scalar=8, attn_logit_softcapping=2.0, max_position_embeddings=2048,
        initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        attn_implementation="eager",  # transformers' sdpa leaves the soft cap out
    )  # fmt: skip
    return LoadedModel(Gemma2ForCausalLM(config).eval(), loaded.tokenizer, "windowed", "cpu")


def learned_positions(loaded):
    """A model without rotary embeddings, with as many KV heads as heads."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(loaded.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=2048,
        initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LoadedModel(GPT2LMHeadModel(config).eval(), loaded.tokenizer, "learned", "cpu")


def with_sinks(loaded):
    """A mixture of experts with attention sinks, which attention over a shared prefix leaves out."""
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(1)
    config = GptOssConfig(
        vocab_size=len(loaded.tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2,
        num_experts_per_tok=1, sliding_window=48, max_position_embeddings=2048, initializer_range=0.3,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    return LoadedModel(GptOssForCausalLM(config).eval(), loaded.tokenizer, "sinks", "cpu")


MODELS = {"llama": lambda loaded: loaded, "gemma2": windowed, "gpt2": learned_positions, "sinks": with_sinks}


def reference(loaded, prompt, steps):
    """transformers' own greedy continuation of one prompt."""
    ids = loaded.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    out = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps
    )
    return tuple(out[0, ids.shape[1] :].tolist())


def full_pass(loaded, prompt, tokens):
    """Log-probabilities of ``tokens`` after ``prompt``, from one pass over all of it."""
    ids = loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprobs = loaded.model(torch.tensor([ids + list(tokens)])).logits[0].log_softmax(dim=-1)
    return [logprobs[len(ids) - 1 + at, token].item() for at, token in enumerate(tokens)]


@pytest.mark.parametrize("prompts", [QUESTIONS, MIXED, MIXED[4:]], ids=["apart", "mixed", "shared"])
@pytest.mark.parametrize("kind", MODELS)
def test_greedy_tokens_are_those_of_transformers(loaded, prompts, kind):
    model = MODELS[kind](loaded)
    generator = HfGenerator.from_loaded(model)
    for prompt, [completion] in zip(prompts, generator.generate(prompts, GREEDY), strict=True):
        assert completion.tokens == reference(model, prompt, 12)
        assert completion.logprobs == pytest.approx(full_pass(model, prompt, completion.tokens), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "past"), [("llama", SharedPast), ("gemma2", SharedPast), ("sinks", PlainPast)]
)
def test_which_models_share(loaded, kind, past):
    pasts = PrefixCache(MODELS[kind](loaded).model, 100)
    with pasts.ready():
        assert isinstance(pasts.start([], 4), past)


def test_a_shared_prefix_is_fed_once(loaded, monkeypatch):
    fed = []
    original = loaded.model.forward

    def counting(*args, **kwargs):
        fed.append(kwargs["input_ids"].numel())
        return original(*args, **kwargs)

    monkeypatch.setattr(loaded.model, "forward", counting)
    prompts = [SHARED + f"{number}" for number in range(16)]
    lengths = [len(ids) for ids in loaded.tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    generator = HfGenerator.from_loaded(loaded)
    generator.generate(prompts, Sampling(max_tokens=1))
    assert sum(fed) < max(lengths) + 16 * 8
    first = sum(fed)
    generator.generate([SHARED + f"{number} again" for number in range(16)], Sampling(max_tokens=1))
    assert sum(fed) - first < max(lengths) / 2  # most of the prefix was still known


def test_samples_of_many_prompts_are_one_batch(generator, monkeypatch):
    original, sizes = HfGenerator._write, []

    def counting(self, rows, encoded, prefix, sampling, batch):
        sizes.append((len(prefix), len(batch)))
        return original(self, rows, encoded, prefix, sampling, batch)

    monkeypatch.setattr(HfGenerator, "_write", counting)
    prompts = [f"{number} {SHARED}"[:500] for number in range(6)]
    generator.generate(prompts, Sampling(max_tokens=2, temperature=1.0), 5)
    assert sizes == [(0, 30)]


def test_a_remembered_prefix_changes_no_bit(loaded):
    other = [SHARED[:400] + question for question in ("x", "y", "z", "why")]
    fresh = HfGenerator.from_loaded(loaded).generate(MIXED, WARM, 2)
    used = HfGenerator.from_loaded(loaded)
    used.generate([SHARED * 2 + question for question in QUESTIONS], GREEDY)
    used.generate(other, GREEDY)
    assert used.generate(MIXED, WARM, 2) == fresh


def test_the_model_is_given_back_as_it_was(loaded):
    loaded.model.train()
    attention = loaded.model.config._attn_implementation
    try:
        HfGenerator.from_loaded(loaded).generate(["a"], GREEDY)
        assert loaded.model.training
        assert loaded.model.config._attn_implementation == attention
        loss = loaded.model(torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss
        loss.backward()
        loaded.model.zero_grad()
    finally:
        loaded.model.eval()


def test_samples_do_not_depend_on_the_batch(loaded, generator):
    together = generator.generate(MIXED, WARM, 3)
    small = HfGenerator.from_loaded(loaded, batch_tokens=64)
    for order in (list(range(8)), [5, 0, 7, 2, 1, 6, 3, 4]):
        again = small.generate([MIXED[at] for at in order], WARM, 3)
        for at, group in zip(order, again, strict=True):
            assert [sample.tokens for sample in group] == [sample.tokens for sample in together[at]]
    for prompt, group in zip(MIXED, together, strict=True):
        alone = generator.generate([prompt], WARM, 1)[0][0]
        assert alone.tokens == group[0].tokens


def test_samples_differ_and_follow_the_seed(generator):
    [samples] = generator.generate([MIXED[0]], WARM, 6)
    assert len({sample.tokens for sample in samples}) > 3
    [reseeded] = generator.generate([MIXED[0]], Sampling(max_tokens=8, temperature=1.0, seed=4), 6)
    assert [sample.tokens for sample in samples] != [sample.tokens for sample in reseeded]


def test_greedy_samples_are_one_computation_repeated(generator):
    [samples] = generator.generate([MIXED[0]], GREEDY, 3)
    assert len(samples) == 3
    assert len(set(samples)) == 1


def test_log_probabilities_of_samples_are_those_of_temperature_one(loaded, generator):
    sampling = Sampling(max_tokens=8, temperature=0.7, top_p=0.9, top_k=20)
    for prompt, [sample] in zip(MIXED, generator.generate(MIXED, sampling), strict=True):
        assert sample.logprobs == pytest.approx(full_pass(loaded, prompt, sample.tokens), abs=1e-5)


def test_stop_strings_end_a_completion_before_them(loaded, generator):
    [[free]] = generator.generate([MIXED[1]], Sampling(max_tokens=20))
    assert len(free.text) > 6
    stop = free.text[3:6]
    [[cut]] = generator.generate([MIXED[1]], Sampling(max_tokens=20, stop=(stop, "\x00never")))
    assert cut.text == free.text[: free.text.find(stop)]
    assert cut.finish == "stop"
    assert cut.tokens == free.tokens[: len(cut.tokens)]
    assert stop in loaded.tokenizer.decode(cut.tokens)
    assert stop not in loaded.tokenizer.decode(cut.tokens[:-1])


def test_the_end_of_sequence_token_is_kept_and_its_text_is_not(loaded, generator):
    completions = [c for group in generator.generate(MIXED, WARM, 40) for c in group]
    ended = [c for c in completions if c.finish == "stop"]
    assert ended
    for completion in completions:
        assert len(completion.tokens) == len(completion.logprobs) <= 8
        assert (completion.finish == "stop") == (completion.tokens[-1] == loaded.tokenizer.eos_token_id)
        assert "<|im_end|>" not in completion.text
        assert loaded.tokenizer.eos_token_id not in completion.tokens[:-1]


def test_scores_are_those_of_a_full_pass(loaded, generator):
    pairs = [(prompt, text) for prompt in MIXED for text in (" the Seine", "x", " finds the novel in Paris")]
    for (prompt, continuation), scores in zip(pairs, generator.score(pairs), strict=True):
        tokens = loaded.tokenizer(continuation, add_special_tokens=False)["input_ids"]
        assert scores == pytest.approx(full_pass(loaded, prompt, tokens), abs=1e-5)


def test_scoring_what_was_generated_gives_its_log_probabilities(generator):
    [[completion]] = generator.generate([MIXED[5]], Sampling(max_tokens=6, stop=("\x00",)))
    [scores] = generator.score([(MIXED[5], completion.text)])
    if len(scores) == len(completion.tokens):  # the text may be cut into tokens in another way
        assert scores == pytest.approx(completion.logprobs, abs=1e-5)


def test_scores_in_small_batches_are_the_same(loaded, generator):
    pairs = [(prompt, " the Seine") for prompt in MIXED] + [(MIXED[0], ""), (MIXED[0], " the Seine")]
    small = HfGenerator.from_loaded(loaded, batch_tokens=32)
    for a, b in zip(generator.score(pairs), small.score(pairs), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert generator.score(pairs)[8] == ()


def test_an_answer_of_many_logits_is_read_in_windows(generator, monkeypatch):
    pairs = [(MIXED[5], " the Seine flows through Paris"), (MIXED[1], " river")]
    expected, held = generator.score(pairs), []

    def see(logits, tokens):
        held.append(tuple(logits.shape[:2]))
        return hf._likelihoods(logits, tokens)

    heads, tails = (generator.encoding.encode(texts) for texts in zip(*pairs, strict=True))
    monkeypatch.setattr(hf, "LOGITS", 3 * generator._vocabulary)
    for values, whole in zip(generator.read(heads, tails, see), expected, strict=True):
        assert values == pytest.approx(whole, abs=1e-5)
    assert max(rows * tokens for rows, tokens in held) == 3
    assert sum(rows * tokens for rows, tokens in held) == sum(map(len, tails))


def test_options_are_log_probabilities_over_the_whole_vocabulary(loaded, generator):
    rows = generator.options(MIXED, ["A", "B", "C"])
    ids = loaded.tokenizer("ABC", add_special_tokens=False)["input_ids"]
    for prompt, row in zip(MIXED, rows, strict=True):
        assert row == pytest.approx([full_pass(loaded, prompt, [id])[0] for id in ids], abs=1e-5)
        assert sum(map(torch.tensor(row).exp().tolist().__getitem__, range(3))) < 1


def test_an_option_of_several_tokens_is_an_error(generator):
    with pytest.raises(ModelError, match=r"'zebra!' is \d tokens"):
        generator.options(["a"], ["A", "zebra!"])
    with pytest.raises(ModelError, match="'' is 0 tokens"):
        generator.options(["a"], [""])


def test_an_empty_prompt_is_an_error(generator):
    with pytest.raises(ModelError, match="no tokens"):
        generator.generate(["a", ""], GREEDY)


def test_no_prompts_no_work(generator):
    assert generator.generate([], GREEDY) == []
    assert generator.score([]) == []
    assert generator.options([], ["A"]) == []
    assert generator.generate(["a"], GREEDY, 0) == [[]]


def test_the_context_limits_what_is_written(loaded, generator):
    ids = loaded.tokenizer("ab" * 1200, add_special_tokens=False)["input_ids"]
    nearly = loaded.tokenizer.decode(ids[:2040])
    length = len(loaded.tokenizer(nearly, add_special_tokens=False)["input_ids"])
    [[completion], [short]] = generator.generate([nearly, "a"], Sampling(max_tokens=40, stop=("\x00",)))
    assert len(completion.tokens) <= 2048 - length
    assert short.tokens == reference(loaded, "a", 40)
    with pytest.raises(ModelError, match="context is 2048"):
        generator.generate(["ab" * 3000], GREEDY)


def test_bfloat16_generates_and_stays_near(tiny_llama, loaded, generator):
    half = HfGenerator(ModelSpec(name=str(tiny_llama), dtype="bfloat16", device="cpu"))
    pairs = [(prompt, " the Seine") for prompt in MIXED]
    for a, b in zip(generator.score(pairs), half.score(pairs), strict=True):
        assert a == pytest.approx(b, abs=0.5)
    assert half.identity != HfGenerator(ModelSpec(name=str(tiny_llama), device="cpu")).identity


def test_an_adapter_merged_and_unmerged(tiny_llama, loaded, generator, tmp_path):
    save_adapter(tiny_llama, tmp_path)
    spec = ModelSpec(name=str(tiny_llama), adapter=str(tmp_path), device="cpu")
    merged, unmerged = HfGenerator(spec), HfGenerator.from_loaded(load(spec))
    assert merged.identity == unmerged.identity != generator.identity
    pairs = [(prompt, " the Seine") for prompt in MIXED]
    for a, b in zip(merged.score(pairs), unmerged.score(pairs), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    written = merged.generate(MIXED, GREEDY)
    assert [group[0].tokens for group in unmerged.generate(MIXED, GREEDY)] == [g[0].tokens for g in written]
    assert written != generator.generate(MIXED, GREEDY)


def test_memory_that_is_not_enough_halves_the_batch(generator, monkeypatch):
    expected = generator.generate(QUESTIONS, GREEDY)
    original, sizes = HfGenerator._write, []

    def tight(self, rows, encoded, prefix, sampling, batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError
        return original(self, rows, encoded, prefix, sampling, batch)

    monkeypatch.setattr(HfGenerator, "_write", tight)
    again = generator.generate(QUESTIONS, GREEDY)
    assert [group[0].tokens for group in again] == [group[0].tokens for group in expected]
    assert sizes == [4, 2, 1, 1, 2, 1, 1]

    def never(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(HfGenerator, "_write", never)
    with pytest.raises(MachineError, match="memory is not enough"):
        generator.generate(["a"], GREEDY)


def test_attention_in_blocks_is_the_same(loaded, generator, monkeypatch):
    from lmtools.generation import shared_attention

    expected = generator.generate(MIXED, GREEDY)
    monkeypatch.setattr(shared_attention, "SCORES", 500)
    blocks = HfGenerator.from_loaded(loaded).generate(MIXED, GREEDY)
    assert [group[0].tokens for group in blocks] == [group[0].tokens for group in expected]


def test_without_sharing_the_answers_are_the_same(loaded, generator, monkeypatch):
    expected = generator.generate(MIXED, WARM, 2)
    monkeypatch.setattr(prefix_module, "MIN_PREFIX", 10_000)
    apart = HfGenerator.from_loaded(loaded).generate(MIXED, WARM, 2)
    assert [[c.tokens for c in group] for group in apart] == [[c.tokens for c in group] for group in expected]


@pytest.mark.slow
def test_the_built_in_model_with_a_shared_prefix():
    loaded = load(ModelSpec(device="cpu"))
    tail = "<|im_end|>\n<|im_start|>assistant\n"
    prompts = [f"<|im_start|>user\n{SHARED}{question}{tail}" for question in QUESTIONS]
    generator = HfGenerator.from_loaded(loaded)
    for prompt, [completion] in zip(prompts, generator.generate(prompts, GREEDY), strict=True):
        assert completion.tokens == reference(loaded, prompt, 12)
        assert completion.logprobs == pytest.approx(full_pass(loaded, prompt, completion.tokens), abs=2e-4)
