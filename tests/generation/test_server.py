"""The server backend against scripted servers on loopback."""

import threading
import time
from collections import Counter

import pytest
from loopback import in_turn, serving

from lmtools.core.errors import BackendError, ModelError
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.server import Served, ServerGenerator, choose_model
from lmtools.models.spec import BUILTIN_LM, ModelSpec

GREEDY = Sampling(max_tokens=4)
WARM = Sampling(max_tokens=4, temperature=0.7, top_p=0.9, stop=("\n",), seed=1)


def plain(text, **more):
    return {"choices": [{"text": text, "finish_reason": "stop", **more}]}


class Script:
    """What the server does: ``answer(path, body)`` returns JSON, or (status, headers, bytes)."""

    def __init__(self, answer, owned_by="someone", models=("m",)):
        self.answer, self.owned_by, self.models = answer, owned_by, models
        self.bodies, self.headers, self.lock = [], [], threading.Lock()

    def __call__(self, handler, body):
        self.headers.append(dict(handler.headers))
        if handler.path == "/v1/models":
            return {"data": [{"id": name, "owned_by": self.owned_by} for name in self.models]}
        with self.lock:
            self.bodies.append(body)
        return self.answer(handler.path, body)


def connect(url, name="m", adapter=None, **options):
    spec = ModelSpec(name=name, adapter=adapter, server_url=f"{url}/v1", backend="server")
    return ServerGenerator(spec, **{"pause": 0.001, "timeout": 5.0, **options})


class TestGenerate:
    def test_gives_up_in_the_end(self):
        script = Script(in_turn((502, {}, b'{"error": {"message": "no upstream"}}')))
        with (
            serving(script) as url,
            pytest.raises(BackendError, match=r"502: no upstream \(3 attempts") as caught,
        ):
            connect(url, retries=2).generate(["x"], GREEDY)
        assert url in str(caught.value)
        assert "model.server_url" in caught.value.fix
        assert len(script.bodies) == 3

    def test_nobody_there(self):
        with serving(Script(in_turn(plain("x")))) as url:
            pass
        with pytest.raises(BackendError, match="cannot be reached") as caught:
            connect(url, retries=1)
        assert caught.value.exit_code == 1

    def test_garbage_instead_of_json(self):
        script = Script(in_turn((200, {}, b"<html>hello</html>")))
        with serving(script) as url, pytest.raises(BackendError, match=r"not JSON\n  it sent: <html>hello"):
            connect(url).generate(["x"], GREEDY)

    @pytest.mark.parametrize(
        ("answer", "field"),
        [
            ([], "the answer"),
            ({"choices": []}, "choices"),
            ({"choices": [{"message": {"content": "chat"}}]}, "choices.0.text"),
            (plain("x", token_ids=["a"]), "choices.0.token_ids.0"),
            (plain("x", logprobs={"token_logprobs": "no"}), "choices.0.logprobs.token_logprobs"),
        ],
    )
    def test_wrong_shape_names_the_field(self, answer, field):
        with (
            serving(Script(in_turn(answer))) as url,
            pytest.raises(BackendError, match="another form") as caught,
        ):
            connect(url).generate(["x"], GREEDY)
        assert f": {field}: " in caught.value.message

    def test_unknown_ending_is_an_error(self):
        answer = {"choices": [{"text": "x", "finish_reason": "abort"}]}
        with serving(Script(in_turn(answer))) as url, pytest.raises(BackendError, match="abort"):
            connect(url).generate(["x"], GREEDY)

    def test_concurrent_requests_keep_their_order(self):
        together, most, running = threading.Lock(), [0], [0]

        def echo(path, body):
            with together:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.05 if int(body["prompt"]) % 3 == 0 else 0.005)  # later ones overtake
            with together:
                running[0] -= 1
            return plain(body["prompt"])

        prompts = [str(number) for number in range(40)]
        with serving(Script(echo)) as url:
            rows = connect(url, concurrency=4).generate(prompts, GREEDY)
        assert [row[0].text for row in rows] == prompts
        assert 1 < most[0] <= 4

    def test_temperature_zero_is_sent_as_zero_and_asked_once(self):
        script = Script(in_turn(plain("same")))
        with serving(script) as url:
            assert connect(url).generate(["x"], GREEDY, samples=3) == [[Completion("same")] * 3]
        assert [body["temperature"] for body in script.bodies] == [0.0]
        assert "seed" not in script.bodies[0]

    def test_each_sample_has_its_own_seed_whatever_is_beside_it(self):
        script = Script(lambda path, body: plain(str(body["seed"])))
        with serving(script) as url:
            server = connect(url)
            together = server.generate(["a", "b"], WARM, samples=3)
            alone = server.generate(["b"], WARM, samples=2)
        assert len({completion.text for row in together for completion in row}) == 6
        assert together[1][:2] == alone[0]
        assert script.bodies[0]["stop"] == ["\n"]
        assert {body["top_p"] for body in script.bodies} == {0.9}

    def test_no_samples_and_no_prompts(self):
        script = Script(in_turn(plain("x")))
        with serving(script) as url:
            assert connect(url).generate(["a", "b"], WARM, samples=0) == [[], []]
            assert connect(url).generate([], GREEDY) == []
        assert script.bodies == []

    def test_lone_surrogates_travel(self):
        script = Script(in_turn(plain("x")))
        with serving(script) as url:
            connect(url).generate(["a\ud800b\x00"], GREEDY)
        assert script.bodies[0]["prompt"] == "a\ud800b\x00"

    def test_the_key_comes_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "second")
        monkeypatch.setenv("LMTOOLS_API_KEY", "first")
        script = Script(in_turn((401, {}, b'{"error": {"message": "bad key"}}')))
        with serving(script) as url, pytest.raises(BackendError, match="401: bad key") as caught:
            connect(url).generate(["x"], GREEDY)
        assert {headers["Authorization"] for headers in script.headers} == {"Bearer first"}
        assert "API key" in caught.value.fix


class TestVllm:
    """What is asked of a vLLM server, and how its additions are read."""

    def test_token_ids_and_logprobs(self):
        answer = plain(" Paris", token_ids=[7, 8], logprobs={"token_logprobs": [-0.5, -0.25]})
        script = Script(in_turn(answer), owned_by="vllm")
        with serving(script) as url:
            assert connect(url).generate(["x"], GREEDY) == [[Completion(" Paris", (7, 8), (-0.5, -0.25))]]
        sent = script.bodies[0]
        assert sent["return_token_ids"] is True
        assert sent["add_special_tokens"] is False
        assert sent["repetition_penalty"] == 1.0

    def test_score_is_tokenised_apart(self):
        def answer(path, body):
            if path == "/tokenize":
                return {"tokens": [ord(letter) for letter in body["prompt"]]}
            rows = [None] + [{str(token): {"logprob": -token / 100}} for token in body["prompt"][1:]]
            return plain("", prompt_logprobs=rows)

        script = Script(answer, owned_by="vllm")
        with serving(script) as url:
            scores = connect(url).score([("ab", "cd"), ("ab", ""), ("x", "c")])
        assert scores == [(-0.99, -1.0), (), (-0.99,)]
        texts = Counter(body["prompt"] for body in script.bodies if isinstance(body["prompt"], str))
        assert texts == {"ab": 1, "cd": 1, "x": 1, "c": 1}

    def test_options_by_token_id(self):
        def answer(path, body):
            if path == "/tokenize":
                return {"tokens": [ord(letter) for letter in body["prompt"]]}
            top = {f"token_id:{token}": -token / 100 for token in body["logprob_token_ids"]}
            return plain("z", logprobs={"token_logprobs": [-1.0], "top_logprobs": [top]})

        with serving(Script(answer, owned_by="vllm")) as url:
            server = connect(url)
            assert server.options(["p", "q"], ["B", "A"]) == [(-0.66, -0.65)] * 2
            with pytest.raises(ModelError, match="'AB' is 2 tokens"):
                server.options(["p"], ["A", "AB"])

    def test_a_server_that_ignores_the_wish_is_an_error(self):
        def answer(path, body):
            return {"tokens": [65]} if path == "/tokenize" else plain("z")

        with serving(Script(answer, owned_by="vllm")) as url:
            with pytest.raises(BackendError, match="does not return the log-probability of 'token_id:65'"):
                connect(url).options(["p"], ["A"])
            with pytest.raises(BackendError, match="does not return log-probabilities of the prompt"):
                connect(url).score([("p", "A")])


class TestOthers:
    """Servers that know nothing beyond OpenAI's API."""

    def test_score_by_echo(self):
        logprobs = {"token_logprobs": [None, -1.0, -0.5, -0.25], "text_offset": [0, 1, 2, 4]}
        script = Script(lambda path, body: plain(body["prompt"], logprobs=logprobs))
        with serving(script) as url:
            assert connect(url).score([("ab", "cdef"), ("ab", "")]) == [(-0.5, -0.25), ()]
            with pytest.raises(BackendError, match="echoed prompt"):
                connect(url).score([("abc", "def")])
        assert script.bodies[0]["echo"] is True

    def test_score_without_echo_is_an_error(self):
        with (
            serving(Script(in_turn(plain("something else")))) as url,
            pytest.raises(BackendError, match="echo"),
        ):
            connect(url).score([("ab", "cd")])

    def test_options_among_the_top(self):
        top = [{" A": -0.1, " B": -2.0}]
        with serving(Script(in_turn(plain("x", logprobs={"top_logprobs": top})))) as url:
            server = connect(url)
            assert server.options(["p"], [" B", " A"]) == [(-2.0, -0.1)]
            with pytest.raises(BackendError, match="' C'"):
                server.options(["p"], [" A", " C"])


class TestChooseModel:
    def test_by_name_else_the_only_one(self):
        a, b = Served(id="a"), Served(id="b")
        assert choose_model([a, b], "b") == b
        assert choose_model([a], "builtin:anything") == a

    def test_several_and_none_of_them(self):
        with pytest.raises(ModelError, match="serves a, b") as caught:
            choose_model([Served(id="a"), Served(id="b")], "c")
        assert "model.name" in caught.value.fix

    def test_an_adapter_is_never_replaced_by_the_base(self):
        script = Script(in_turn(plain("x")))
        with serving(script) as url, pytest.raises(ModelError, match="does not serve 'tuned'"):
            connect(url, adapter="tuned")

    @pytest.mark.parametrize("name", ["runs/leret-train/policy", "other"])
    def test_a_model_that_was_named_is_never_replaced_by_another(self, name):
        script = Script(in_turn(plain("x")), models=("base",))
        with (
            serving(script) as url,
            pytest.raises(ModelError, match=f"does not serve '{name}'; it serves base"),
        ):
            connect(url, name=name)

    def test_identity_names_address_and_served_model(self):
        script = Script(in_turn(plain("x")), models=("served",))
        with serving(script) as url:
            assert connect(url, name=BUILTIN_LM).identity == f"server:{url}/v1:served"
