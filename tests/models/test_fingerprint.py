"""Content hashes: what changes them, and what does not."""

import os

import pytest

from lmtools.models import files as module
from lmtools.models.files import file_sha256, fingerprint, weights_fingerprint


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_every_part_of_the_model_counts(model):
    seen = {fingerprint(model)}
    (model / "config.json").write_text('{"a": 1}')
    seen.add(fingerprint(model))
    (model / "chat_template.jinja").write_text("{{ x }}")
    seen.add(fingerprint(model))
    (model / "model.safetensors").write_bytes(b"other weights")
    seen.add(fingerprint(model))
    assert len(seen) == 4


def test_folders_and_states_beside_the_model_do_not(model):
    before = fingerprint(model)
    (model / "optimizer.pt").write_bytes(b"state")
    (model / "checkpoint-1").mkdir()
    (model / "README.md").write_text("hello")
    assert fingerprint(model) == before


def test_the_weights_alone(model):
    before = weights_fingerprint(model)
    (model / "config.json").write_text('{"a": 1}')
    assert weights_fingerprint(model) == before


def test_weights_are_read_once_until_they_change(model, monkeypatch):
    reads = []
    original = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: reads.append(path.name) or original(path))
    path = model / "model.safetensors"
    first = file_sha256(path)
    assert file_sha256(path) == first
    assert reads == ["model.safetensors"]
    stat = path.stat()
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert file_sha256(path) != first


def test_a_cache_that_cannot_be_written_is_no_obstacle(model, monkeypatch):
    monkeypatch.setenv("LMTOOLS_CACHE", str(model / "config.json"))
    assert len(fingerprint(model)) == 64
