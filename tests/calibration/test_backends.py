"""The same answers and confidences from transformers, from a server and from vLLM."""

import pytest
import tiny
from loopback import serving
from quiz import answer_records, choice_records, write_lines

from lmtools.calibration.evaluate import predict
from lmtools.calibration.inputs import prepare
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.scoring import GeneratorScorer
from lmtools.core.journal import Journal
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Sampling

FLOAT32 = 1e-3


LETTERS = "Answer: A\nAnswer: B\nAnswer: C\nAnswer: D\n" * 20


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The tiny Llama with a tokenizer for which `` A`` is one token, as it is for real ones."""
    monkeypatch.setattr(tiny, "TEXT", [*tiny.TEXT, LETTERS])
    return tiny.save_tiny_llama(tmp_path / "model")


@pytest.fixture(params=[True, False], ids=["chat", "plain"])
def predictions(request, tmp_path, model):
    """``predictions(backend=..., ...)`` on both kinds of tasks, through a chat template and as plain text."""
    (tmp_path / "short.yaml").write_text(
        f"kind: answers\nsource: {write_lines(tmp_path / 'answers.jsonl', answer_records(6))}\n"
        "shots: 2\nmax_tokens: 6\nstop: ['e']\n"
    )
    tasks = [str(write_lines(tmp_path / "choices.jsonl", choice_records(6))), str(tmp_path / "short.yaml")]

    def make(**settings):
        spec = {"name": str(model), "device": "cpu", "max_model_len": 2048, **settings}
        recipe = CalibrationRecipe(tasks=tasks, chat=request.param, model=spec)
        setup = prepare(recipe)
        journal = Journal(tmp_path / "unused.jsonl", writable=False)
        return predict(setup, journal, lambda: GeneratorScorer(open_generator(recipe.model)))

    return make


def answering(generator, tokenizer, name):
    """What a vLLM server would answer with ``generator``'s model, as much as the client asks for."""

    def options(body):
        texts = [tokenizer.decode([token]) for token in body["logprob_token_ids"]]
        [values] = generator.options([body["prompt"]], texts)
        names = [f"token_id:{token}" for token in body["logprob_token_ids"]]
        return {
            "text": "",
            "finish_reason": "length",
            "logprobs": {"top_logprobs": [dict(zip(names, values, strict=True))]},
        }

    def completion(body):
        sampling = Sampling(max_tokens=body["max_tokens"], stop=tuple(body.get("stop", ())))
        [[done]] = generator.generate([body["prompt"]], sampling)
        return {
            "text": done.text,
            "finish_reason": done.finish,
            "token_ids": list(done.tokens),
            "logprobs": {"token_logprobs": list(done.logprobs)},
        }

    def answer(handler, body):
        if body is None:
            return {"data": [{"id": name, "owned_by": "vllm"}]}
        if handler.path == "/tokenize":
            return {"tokens": tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]}
        return {"choices": [options(body) if "logprob_token_ids" in body else completion(body)]}

    return answer


def test_a_server_gives_the_same(predictions, model):
    from lmtools.generation.hf import HfGenerator
    from lmtools.models.load import load_tokenizer
    from lmtools.models.spec import ModelSpec

    spec = ModelSpec(name=str(model), device="cpu")
    expected = predictions()
    with serving(answering(HfGenerator(spec), load_tokenizer(spec), spec.name)) as address:
        found = predictions(backend="server", server_url=f"{address}/v1")
    assert_same(found, expected, 1e-5)
    assert {one.task for one in found} == {"choices", "short"}


@pytest.mark.vllm
def test_vllm_gives_the_same(predictions):
    assert_same(predictions(backend="vllm"), predictions(), FLOAT32)


def assert_same(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.model_copy(update={"confidence": 0.0}) == theirs.model_copy(update={"confidence": 0.0})
        assert ours.confidence == pytest.approx(theirs.confidence, abs=tolerance)


def test_plain_options_are_letters_after_a_space(model):
    words = tiny.tokenizer()
    assert [len(words(f" {letter}")["input_ids"]) for letter in "ABCD"] == [1] * 4


def test_answers_do_not_depend_on_what_is_asked_beside_them(predictions):
    whole = predictions()
    assert_same(predictions(batch_tokens=64), whole, 1e-5)
