"""The pace of a model is timed on a few batches, and leaves nothing behind."""

from lmtools.core.progress import Pace
from lmtools.generation.pace import measure_pace
from lmtools.models.spec import ModelSpec


def test_a_tiny_model_is_timed(tiny_llama, capsys):
    found = measure_pace(ModelSpec(name=str(tiny_llama), device="cpu"))
    assert isinstance(found, Pace)
    assert min(found.read, found.written, found.trained) > 0
    assert found.read > found.written
    said = capsys.readouterr().err
    assert f"reads {found.read:.0f} tokens a second" in said
    assert "at float32" in said


def test_what_another_backend_takes_is_not_known():
    assert measure_pace(ModelSpec(backend="vllm")) is None
