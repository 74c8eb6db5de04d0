"""What the tests of several retrievers share: small corpora, and an encoder that counts words."""

import hashlib

import numpy as np
import pytest

from lmtools.data.records import Passage


@pytest.fixture
def planets():
    """Five passages whose ids as strings are ordered neither as numbers nor as the corpus."""
    return [
        Passage(id="10", title="Mercury", text="Mercury is the smallest planet and the closest to the Sun."),
        Passage(id="9", title="Venus", text="Venus is the second planet from the Sun, veiled in clouds."),
        Passage(id="8", title="Seine", text="The Seine is a river that flows through Paris."),
        Passage(id="7", title="Paris", text="Paris is the capital of France, on the river Seine."),
        Passage(id="6", title="Rhine", text="The Rhine is a river in Germany and other countries."),
    ]


@pytest.fixture
def towers():
    """Three passages of 3, 1 and 2 terms, title included, on which a score is worked out by hand."""
    return [
        Passage(id="a", title="tower", text="tower bridge"),
        Passage(id="b", title="bridge", text=""),
        Passage(id="c", title="seine", text="seine"),
    ]


class WordCountEncoder:
    """Words hashed into a few dimensions: similar texts get similar vectors, without a model."""

    identity = "word counts"
    dimensions = 32

    def __init__(self):
        self.encoded = 0
        self.fail_after = None

    def encode(self, texts):
        if self.fail_after is not None and self.encoded + len(texts) > self.fail_after:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        vectors = np.full((len(texts), self.dimensions), 1e-3, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().replace(".", " ").replace(",", " ").split():
                row[hashlib.sha256(word.encode("utf-8", "replace")).digest()[0] % self.dimensions] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def encoder():
    return WordCountEncoder()


@pytest.fixture(scope="session")
def new_encoder():
    """For property tests, each example of which needs an encoder of its own."""
    return WordCountEncoder
