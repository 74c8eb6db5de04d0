"""The same answers from transformers, from vLLM in this process and from a vLLM server.

Tolerances, in nats. float32: 1e-3 (measured 4e-5). bfloat16: both backends round, so each is compared with
transformers at float32; on the built-in model vLLM is off by 0.06 on average and 0.30 at most, transformers
itself by 0.06 and 0.41. Held: 0.1 and 0.6, and vLLM's mean within 1.5 times that of transformers.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from lmtools.core.errors import BackendError
from lmtools.generation.protocol import Sampling
from lmtools.models.spec import BUILTIN_LM, ModelSpec

pytestmark = pytest.mark.vllm

FLOAT32 = 1e-3
READY = 180  # seconds for a server to start

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
EXAMPLES = "".join(
    f"Question: Who wrote {title}?\nQuery: author of {title}\n\n"
    for title in ("Middlemarch", "Solaris", "Kim", "Emma", "Ulysses", "Walden", "Dracula", "Nostromo")
)
PROMPTS = [
    CHAT.format("Which river flows through the capital of France?"),
    CHAT.format("Name the chemical element with the symbol Fe."),
    CHAT.format(f"{EXAMPLES}Question: Which novel did the author of Emma write first?\nQuery:"),
    CHAT.format(f"{EXAMPLES}Question: Which river flows through Paris?\nQuery:"),
    "The capital of Japan is",
]
GREEDY = Sampling(max_tokens=24)
STOPPING = Sampling(max_tokens=24, stop=("\n", " the", "e "))
PAIRS = [
    (prompt, continuation)
    for prompt in PROMPTS
    for continuation in (" The Seine, which rises in Burgundy.", "Tokyo", "")
]
LETTERS = ["A", "B", "C", "D"]


@pytest.fixture(scope="module")
def tiny(tiny_llama):
    return str(tiny_llama)


@contextmanager
def vllm_server(directory, log):
    """The address of vLLM's own server on loopback, started with the options its CPU engine needs."""
    pytest.importorskip("vllm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = "--dtype float32 --enforce-eager --no-enable-chunked-prefill --block-size 32 --max-logprobs -1"
    sizes = "--max-model-len 2048 --max-num-batched-tokens 4096"
    threads = f"0-{len(os.sched_getaffinity(0)) - 1}"
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": threads,
        "OMP_WAIT_POLICY": "passive",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", directory]
    command += ["--host", "127.0.0.1", "--port", str(port), *options.split(), *sizes.split()]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=os.environ | environment, start_new_session=True
        )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def wait_until_ready(process, url, log):
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the server was not ready in {READY} s:\n{log.read_text()[-3000:]}")


def hf(name, **options):
    from lmtools.generation.hf import HfGenerator

    return HfGenerator(ModelSpec(name=name, **options))


def vllm(name, **options):
    pytest.importorskip("vllm")
    from lmtools.generation.vllm import VllmGenerator

    return VllmGenerator(ModelSpec(name=name, backend="vllm", max_model_len=2048, **options))


def deviation(ours, theirs):
    """Mean and largest absolute difference between rows of log-probabilities of equal shapes."""
    pairs = [(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    differences = [abs(a - b) for a, b in pairs]
    return sum(differences) / len(differences), max(differences)


def whole(text):
    """Text without a character whose bytes are incomplete at its end, which a server leaves out."""
    return text.rstrip("\ufffd")


def assert_same(ours, theirs, tolerance):
    """Same text, tokens and endings, log-probabilities, scores and options."""
    for sampling in (GREEDY, STOPPING):
        mine = [row[0] for row in ours.generate(PROMPTS, sampling)]
        other = [row[0] for row in theirs.generate(PROMPTS, sampling)]
        assert [row.tokens for row in mine] == [row.tokens for row in other]
        assert [whole(row.text) for row in mine] == [whole(row.text) for row in other]
        assert [row.finish for row in mine] == [row.finish for row in other]
        assert deviation([row.logprobs for row in mine], [row.logprobs for row in other])[1] < tolerance
    assert deviation(ours.score(PAIRS), theirs.score(PAIRS))[1] < tolerance
    assert deviation(ours.options(PROMPTS, LETTERS), theirs.options(PROMPTS, LETTERS))[1] < tolerance


class TestTiny:
    @pytest.fixture(scope="class")
    def engine(self, tiny):
        return vllm(tiny)

    @pytest.fixture(scope="class")
    def server(self, tiny, tmp_path_factory):
        from lmtools.generation.server import ServerGenerator

        with vllm_server(tiny, tmp_path_factory.mktemp("server") / "log") as url:
            yield ServerGenerator(ModelSpec(name=tiny, server_url=url, backend="server"))

    def test_engine_and_transformers(self, tiny, engine):
        assert_same(engine, hf(tiny), FLOAT32)

    def test_server_and_transformers(self, tiny, server):
        assert_same(server, hf(tiny), FLOAT32)

    def test_server_and_engine_draw_the_same_samples(self, server, engine):
        sampling = Sampling(max_tokens=8, temperature=0.8, top_p=0.95, top_k=40, seed=3)
        ours = server.generate(PROMPTS, sampling, samples=3)
        theirs = engine.generate(PROMPTS, sampling, samples=3)
        assert [[c.tokens for c in row] for row in ours] == [[c.tokens for c in row] for row in theirs]
        assert len({completion.tokens for completion in ours[0]}) == 3

    def test_a_prompt_too_long_for_the_server(self, server):
        with pytest.raises(BackendError, match="400"):
            server.generate(["x" * 5000], GREEDY)


@pytest.mark.slow
class TestBuiltin:
    @pytest.fixture(scope="class")
    def exact(self):
        return hf(BUILTIN_LM)

    def test_float32(self, exact):
        assert_same(vllm(BUILTIN_LM), exact, FLOAT32)

    def test_bfloat16(self, exact):
        """Costs a minute or two on a processor that emulates bfloat16."""
        halves = vllm(BUILTIN_LM, dtype="bfloat16"), hf(BUILTIN_LM, dtype="bfloat16")
        (mean, most), (rounding, _) = [deviation(half.score(PAIRS), exact.score(PAIRS)) for half in halves]
        assert mean < 0.1
        assert most < 0.6
        assert mean < 1.5 * rounding
        assert deviation(halves[0].options(PROMPTS, LETTERS), exact.options(PROMPTS, LETTERS))[1] < 0.3
