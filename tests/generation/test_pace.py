"""The pace of a model is timed on a few batches, and leaves nothing behind."""

from lmtools.core.progress import Pace
from lmtools.generation.pace import measure_pace
from lmtools.models.spec import ModelSpec


def test_a_tiny_model_is_timed(tiny_llama, capsys):
    pace = measure_pace(ModelSpec(name=str(tiny_llama), device="cpu"))
    assert isinstance(pace, Pace)
    assert min(pace.read, pace.written, pace.trained) > 0
    assert pace.read > pace.written
    message = capsys.readouterr().err
    assert f"reads {pace.read:.0f} tokens a second" in message
    assert "at float32" in message


def test_what_another_backend_takes_is_not_known():
    assert measure_pace(ModelSpec(backend="vllm")) is None
