"""Every method against a whole pass of transformers and the definitions; batches, prefixes and the cache."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_run import NAMES, write_run
from tiny import save_tiny_llama

from lmtools.ats.artefact import FittedMethods, load_methods
from lmtools.ats.calibrated import AtsScorer, open_scorer
from lmtools.core.errors import ModelError, RecipeError
from lmtools.generation import hf
from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Completion, Sampling
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

SHOTS = "Which river flows through the capital of France? The Seine flows through Paris. " * 12
PROMPTS = ["who wrote it?", "a", *(SHOTS + tail for tail in ("who wrote it?", "Q: 7", "Which passage, then"))]
ANSWERS = ["x", " Paris", " in France, then", ""]
MAPS = ("Platt", "histogram binning", "scaling-binning", "isotonic")


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, loaded):
    return write_run(tmp_path_factory.mktemp("run"), loaded)


@pytest.fixture(scope="module")
def methods(run, loaded):
    return load_methods(run, loaded)


@pytest.fixture
def reader(loaded, methods):
    return AtsScorer(loaded, methods)


def ids_of(loaded, text):
    return loaded.tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def plainly(loaded, methods, prompt, tokens):
    """Log-probabilities (tokens, vocabulary) by method, at each token after the prompt, in one whole pass."""
    ids = torch.tensor([ids_of(loaded, prompt) + list(tokens)])
    output = loaded.model(ids, output_hidden_states=True)
    here = slice(-len(tokens) - 1, -1)
    logits, hidden = output.logits[0, here], output.hidden_states[-1]
    found = {"uncalibrated": logits}
    for name, head in methods.heads.items():
        found[name] = head(hidden)[0, here].exp()[:, None] * logits
    for name, value in methods.scalars.items():
        found[name] = torch.tensor(value).exp() * logits
    found["vector scaling"] = methods.vector.weight * logits + methods.vector.bias
    found |= dict.fromkeys(MAPS, logits)
    return {name: values.log_softmax(-1) for name, values in found.items()}


def test_scores_are_those_of_a_whole_pass(loaded, methods, reader):
    assert reader.methods == NAMES
    answers = [
        Completion(" the Seine"),
        Completion("x", (5, 77, 200, 2)),
        Completion(" Paris, in France"),
    ] * 2
    read = reader.score(PROMPTS, answers[:5])
    for prompt, answer, by_method in zip(PROMPTS, answers, read, strict=False):
        tokens = answer.tokens or ids_of(loaded, answer.text)
        expected = plainly(loaded, methods, prompt, tokens)
        assert tuple(by_method) == NAMES
        for name in NAMES:
            wanted = expected[name][range(len(tokens)), list(tokens)].tolist()
            assert by_method[name] == pytest.approx(wanted, abs=1e-4), name
    # The methods are not all the same thing.
    assert len({read[0][name] for name in NAMES}) == len(NAMES) - len(MAPS)


def test_options_are_those_of_a_whole_pass(loaded, methods, reader):
    letters = ["A", "B", "C"]
    tokens = [ids_of(loaded, letter)[0] for letter in letters]
    for prompt, by_method in zip(PROMPTS, reader.options(PROMPTS, letters), strict=True):
        expected = plainly(loaded, methods, prompt, [0])
        assert tuple(by_method) == NAMES
        for name in NAMES:
            assert by_method[name] == pytest.approx(expected[name][0, tokens].tolist(), abs=1e-4), name


def test_uncalibrated_is_what_the_generator_says(loaded, reader):
    generator = HfGenerator.from_loaded(loaded)
    answers = [" the Seine", " Paris", "x", "", " in France"]
    scores = generator.score(list(zip(PROMPTS, answers, strict=True)))
    read = reader.score(PROMPTS, [Completion(text) for text in answers])
    for by_method, values in zip(read, scores, strict=True):
        assert by_method["uncalibrated"] == pytest.approx(values, abs=1e-5)
    options = generator.options(PROMPTS, ["A", "B"])
    for by_method, values in zip(reader.options(PROMPTS, ["A", "B"]), options, strict=True):
        assert by_method["uncalibrated"] == pytest.approx(values, abs=1e-5)


def test_answers_are_the_base_models_and_so_are_their_log_probabilities(loaded, reader):
    sampling = Sampling(max_tokens=7, temperature=1.0, seed=3)
    answers = reader.generate(PROMPTS, sampling, 2)
    assert answers == HfGenerator.from_loaded(loaded).generate(PROMPTS, sampling, 2)
    read = reader.score(PROMPTS, [first for first, _ in answers])
    for by_method, (answer, _) in zip(read, answers, strict=True):
        assert by_method["uncalibrated"] == pytest.approx(answer.logprobs, abs=1e-5)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.tuples(st.sampled_from(PROMPTS), st.sampled_from(ANSWERS)), min_size=1, max_size=6),
    batch_tokens=st.sampled_from([16, 300, 8192]),
    held=st.sampled_from([2, 1 << 20]),
)
def test_an_answers_numbers_depend_on_nothing_beside_it(
    loaded, methods, monkeypatch, tmp_path_factory, chosen, batch_tokens, held
):
    monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path_factory.mktemp("together")))
    prompts, answers = [prompt for prompt, _ in chosen], [Completion(text) for _, text in chosen]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf, "LOGITS", held * 384)
        together = AtsScorer(loaded, methods, batch_tokens).score(prompts, answers)
    monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path_factory.mktemp("alone")))
    reader = AtsScorer(loaded, methods)
    for prompt, answer, by_method in zip(prompts, answers, together, strict=True):
        [alone] = reader.score([prompt], [answer])
        for name in NAMES:
            assert by_method[name] == pytest.approx(alone[name], abs=1e-4), name


def test_an_empty_answer_has_no_tokens_under_any_method(reader):
    [by_method] = reader.score([PROMPTS[0]], [Completion("", finish="length")])
    assert by_method == dict.fromkeys(NAMES, ())


def test_only_confidence_maps_adjust(reader):
    assert reader.adjust("isotonic", 0.5) == pytest.approx(0.4)
    assert reader.adjust("histogram binning", 0.5) == 0.25
    for name in set(NAMES) - set(MAPS):
        assert [reader.adjust(name, p) for p in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
    for name in MAPS:
        assert 0 <= reader.adjust(name, 0.0) <= reader.adjust(name, 1.0) <= 1


@pytest.fixture
def passes(monkeypatch):
    """How many rows are read from the model, one number for each call."""
    counted, original = [], HfGenerator.read

    def read(self, heads, tails, see):
        counted.append(len(tails))
        return original(self, heads, tails, see)

    monkeypatch.setattr(HfGenerator, "read", read)
    return counted


def test_a_second_evaluation_runs_no_model(loaded, methods, reader, passes):
    answers = [Completion(" the Seine")] * 5
    first = reader.score(PROMPTS, answers), reader.options(PROMPTS, ["A", "B"])
    assert passes == [5, 5]
    again = AtsScorer(loaded, methods)
    assert (again.score(PROMPTS, answers), again.options(PROMPTS, ["A", "B"])) == first
    some = AtsScorer(loaded, methods.only(("mlp", "Platt")))
    assert some.score(PROMPTS, answers)[0] == {
        name: first[0][0][name] for name in ("uncalibrated", "Platt", "mlp")
    }
    assert passes == [5, 5]
    reader.score([PROMPTS[0]], [Completion("the Seine")])
    reader.options([PROMPTS[0]], ["B", "A"])
    assert passes == [5, 5, 1, 1]


def test_another_head_is_not_answered_from_the_cache(loaded, methods, reader, passes):
    answer = [Completion("x")]
    [before] = reader.score(PROMPTS[:1], answer)
    changed = FittedMethods({"linear": methods.heads["mlp"]}, digests={"linear": "another"})
    other = AtsScorer(loaded, changed)
    [after] = other.score(PROMPTS[:1], answer)
    assert passes == [1, 1]
    assert after["uncalibrated"] == pytest.approx(before["uncalibrated"], abs=1e-5)
    assert after["linear"] == pytest.approx(before["mlp"], abs=1e-5)


def test_tokens_and_text_are_different_questions(reader):
    by_text, by_tokens = reader.score(PROMPTS[:1] * 2, [Completion("x"), Completion("x", (5, 77))])
    assert len(by_text["mlp"]) == 1
    assert len(by_tokens["mlp"]) == 2


def test_a_shared_prefix_is_run_once(loaded, reader, monkeypatch):
    fed = []
    handle = loaded.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    reader.options(PROMPTS[2:], ["A"])
    handle.remove()
    once = len(ids_of(loaded, SHOTS))
    assert once < sum(fed) < 1.5 * once


def test_opening_a_run(tiny_llama, run, methods):
    spec = ModelSpec(name=str(tiny_llama), device="cpu")
    reader = open_scorer(spec, run, ("transformer",))
    assert reader.methods == ("uncalibrated", "transformer")
    [found] = reader.options(PROMPTS[:1], ["A"])
    assert set(found) == {"uncalibrated", "transformer"}
    reader.close()
    reader.close()
    with pytest.raises(RecipeError, match="none of the methods that were fitted"):
        open_scorer(spec, run, ("temperature",))
    with pytest.raises(RecipeError, match="read by hf, not by vllm"):
        open_scorer(spec.model_copy(update={"backend": "vllm"}), run)


def test_a_run_of_another_model_is_an_error(tmp_path, run):
    other = save_tiny_llama(tmp_path / "other", seed=9)
    with pytest.raises(ModelError, match="other weights"):
        open_scorer(ModelSpec(name=str(other), device="cpu"), run)


@pytest.mark.parametrize("heads", [True, False])
def test_a_model_whose_logits_are_not_numbers_is_an_error(tmp_path, methods, heads):
    broken = load(ModelSpec(name=str(save_tiny_llama(tmp_path / "broken")), device="cpu"))
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(torch.nan)
    some = methods if heads else methods.only(("scalar (NLL)", "Platt"))
    model = LoadedModel(broken.model, broken.tokenizer, "broken", "cpu")
    with pytest.raises(ModelError, match="NaN or infinity"):
        AtsScorer(model, some).score(PROMPTS[:1], [Completion("x")])


def test_bad_questions_are_errors(reader):
    with pytest.raises(ModelError, match="a prompt has no tokens"):
        reader.score([""], [Completion("x")])
    with pytest.raises(ModelError, match="not one"):
        reader.options(["a"], ["zebra!"])
    with pytest.raises(ValueError, match="argument 2"):
        reader.score(["a", "b"], [Completion("x")])
    assert reader.options(["a"], []) == [dict.fromkeys(NAMES, ())]
    assert reader.score([], []) == []
